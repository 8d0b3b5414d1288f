"""Random faults against a running cluster, and the count afterwards: destination equals source, each file once.

    python -m tests.faults --files 1000 --faults 30 --seed 7

producer.py    writes files under few names, each again as soon as that may be: taken, arrived, its batch gone
consumer.py    a program at the partner: takes and deletes each file the moment it appears, and notes what it took
notes.py       what the consumer has noted so far
link.py        the road between two parties: can be cut at any byte, stalled, slowed, closed
field.py       etcd, controller, nodes and partner as users start them, with such roads between, on small disks
moment.py      what is in flight, seen while the leader is frozen: the state that a fault is to hit
plan.py        which faults come when, from a seed; pure
kinds.py       table kind → what it does
trial.py       one whole run: faults while files flow, then everything must drain
verdict.py     what was produced against what was taken, and what is left behind; pure
report.py      the table, and the line in docs/reports/faults.jsonl

The faults come from outside only: signals, sockets, disks. Nothing in the product knows of them.
"""
