"""What the controller does for administrators. Every use case stands once, in operations.py, whatever asks for it.

home.py         the controller's keys, on its disk; `init` makes them
prepare.py      an author's config → one that can be stored: hashed, sealed, with host keys
operations.py   apply, show, history, nodes, status, forget
fleet.py        what the instances say of themselves, put together (pure)
custody.py      the controller's own store of every version, from which etcd can be rebuilt
restoring.py    ends a restore of etcd: journal and ledgers completed from nodes' records (restore_merge.py, pure)
management.py   what runs beside the calls: custody, admissions of nodes
transfers.py    what administrators see of transfers and ask of them
deliveries.py   the store of deliveries (SQLite), with deliveries_rows.py (pure) and deliveries_sql.py (statements)
link.py         the agents' streams: proof, events, requests
link_server.py  where agents attach, and its announcement in etcd
rpc.py          operations as a gRPC service
rpc_transfers.py  transfers and deliveries as gRPC services
rpc_status.py   our errors as gRPC statuses, in one table
rpc_access.py   who may call
"""
