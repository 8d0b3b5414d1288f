"""The part of a node and of a controller that follows config and runs services and transfers.

guardian.py       the program itself: starts the agent, ends what it leaves behind, then revokes its lease
revoke.py         ends one lease, as a short process of its own, so that the guardian needs no etcd client
options.py        what an agent is started with
main.py           entry point and composition root: `python -m mft.agent.main OPTIONS`
follower.py       config/current → verified, stored, published as `Latest`
reconciler.py     which listeners run here; `plan` is pure
supervisor.py     keeps worker processes alive
inbound_pool.py   the inbound workers, their listeners and their share of the sessions
outbound_pool.py  the outbound workers and the runs they make
leading.py        candidacy: one dispatcher for each leader group that this instance may lead
etcd_room.py      how full etcd is; a full one grants no lease
restoring.py      whether this instance may lead at all: not in an etcd that went back; posts its records then
yielding.py       when a leader gives way; troubles.py: since when which locations fail it
probes.py         who of a group's candidates reaches which partner, asked and answered through etcd
link.py           the streams to the controllers: events and progress up, requests down
link_requests.py  what controllers ask, answered
presence.py       what this instance says of itself in etcd: alive, ack
health.py         liveness and readiness for load balancers and supervisors
"""
