"""What the cluster AGREES on, through etcd, and what of it each member keeps on its own disk.

keys.py         the names of all keys in etcd
buckets.py      the stored form of a config: components in chunks named by their hash
manifest.py     a version: signed, immutable, naming its chunks
sign.py         Ed25519: who may publish
seal.py         AES-256-GCM: secrets, sealed for the place where they stand
store_etcd.py   versions in etcd: publish by compare-and-swap, read, history
store_disk.py   versions on disk: a node's snapshots, a controller's store
files.py        files that survive a crash
joining.py      how a node gets the cluster's keys
trust_file.py   what a node has pinned
life.py         whether etcd is the store that this process knows, or an old one
values.py       values in etcd that must be understood
restore.py      what etcd says while a restore is not over
membership.py   what instances say of themselves
ranking.py      which candidate of a leader group is better
"""
