"""The places files come from and go to. A new kind is one spec, one file here, one line in `KINDS`.

base.py     what each remote can do, and what its errors mean
bundles.py  what a remote may offer besides: many small files at one time
local.py    a folder on shared storage; local_bundles.py
sftp.py     a partner's SFTP server; sftp_bundles.py, ssh_packets.py
pool.py     open remotes, kept between runs
"""
