"""WHERE: files below a root that no name, link or race leads out of.

syscalls.py   openat2 and renameat2, which Python's os lacks
confined.py   one rooted folder: every operation on files, each by descriptor; blocking
"""
