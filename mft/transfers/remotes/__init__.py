"""The places files come from and go to. A new kind is one spec, one file here, one line in `KINDS`.

base.py     what each remote can do, and what its errors mean
local.py    a folder on shared storage
sftp.py     a partner's SFTP server
pool.py     open remotes, kept between runs
"""
