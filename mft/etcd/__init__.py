"""An asyncio client of the etcd v3 API on grpc.aio. It knows nothing of MFT.

client.py      EtcdClient: what users open; holds the rooms below
endpoints.py   one channel per endpoint, rotation, the retry rules, login and its renewal
channel.py     channel options, TLS, and waiting for a connection before anything is sent
wire.py        the calls: method path → message classes
errors.py      grpc's and etcd's errors → ours, once
records.py     what comes back: KeyValue, Header, Got, Listing, Written, Deleted, TxnResult
ops.py         what goes into a transaction: comparisons and operations
kv.py          get, get_prefix, put, delete, txn, compact
lease.py       grant, renew, revoke; keeper.py holds one lease for a process
election.py    campaign, leadership, candidates: etcd's own recipe
watch.py       a prefix as it is now, kept true by list and watch; watch_stream.py is one stream of it
servers.py     status, members, alarms, and which server versions are fit
beside.py      a task that lives as long as a block
"""
