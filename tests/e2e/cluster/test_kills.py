"""Programs and their parts are killed or told to end amid deliveries: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

from tests.e2e.cluster.deliveries import all_came_once, logged, numbered, under_way, were_starved
from tests.rig.cluster import TTL_S, Cluster, Consumer, Eye, all_ended, held_session
from tests.rig.sftp import sftp_batch
from tests.rig.waiting import eventually, on_this_machine


async def test_an_inbound_worker_dies(cluster: Cluster, eye: Eye) -> None:
    """Goal: a worker's death drops its sessions and nothing else. Method: SIGKILL the inbound worker of the leader.

    Another node's session, the lease and leadership stay, and new logins work at once.
    """
    leader = await eye.leader()
    node, other = cluster.nodes[leader], "b" if leader == "a" else "a"
    key = cluster.partner.key
    agent, candidates, said = node.agent(), await eye.candidates(), logged(cluster)
    async with (
        held_session(cluster.ports[other], "alice", key) as stays,
        held_session(cluster.ports[leader], "alice", key) as dies,
    ):
        (cluster.folder / "x").write_bytes(b"x")
        for session, name in ((stays, "stays"), (dies, "dies")):
            (cluster.home / name).unlink(missing_ok=True)
            await session.do(f"put {cluster.folder / 'x'} {name}")
            await eventually((cluster.home / name).exists, 30, what=f"session {name} works")
        for pid in node.workers("inbound"):
            os.kill(pid, signal.SIGKILL)
        await sftp_batch(cluster.ports[leader], "alice", ["ls"], key=key)
        await stays.do(f"put {cluster.folder / 'x'} stayed")
        await eventually((cluster.home / "stayed").exists, 30, what="the other session works on")
        await dies.do("ls")  # It waits for commands, and looks at its connection only then.
        await eventually(lambda: not dies.alive(), 30, what="its own session ended")
    assert node.agent() == agent
    assert await eye.candidates() == candidates or were_starved(cluster, said)


async def test_an_outbound_worker_dies(cluster: Cluster, eye: Eye, consumer: Consumer) -> None:
    """Goal: its runs go on by the journal, in the same term. Method: SIGKILL it thrice while files are on their way."""
    leader = await eye.leader()
    node, agent, said = cluster.nodes[leader], cluster.nodes[leader].agent(), logged(cluster)
    names = numbered("worker", 120)
    cluster.give(*names)
    for count in (10, 40, 80):
        await under_way(consumer, count)
        await asyncio.sleep(random.uniform(0, 0.05))
        for pid in node.workers("outbound"):
            os.kill(pid, signal.SIGKILL)
    await all_came_once(cluster, eye, consumer, names)
    assert node.agent() == agent
    assert (await eye.candidates())[0] == leader or were_starved(cluster, said)


async def test_the_agent_dies(cluster: Cluster, eye: Eye, consumer: Consumer) -> None:
    """Goal: the other node leads long before the lease would have run out. Method: SIGKILL the leader's agent.

    For its guardian ends what the agent left, gives the lease back, and starts an agent that serves again.
    """
    leader = await eye.leader()
    node = cluster.nodes[leader]
    names = numbered("agent", 100)
    cluster.give(*names)
    await under_way(consumer, 20)
    left, agent, said = node.family()[1:], node.agent(), len(node.text())
    began = time.monotonic()
    os.kill(agent, signal.SIGKILL)
    other = await eye.leader(not_=leader)
    took_s = time.monotonic() - began
    assert other != leader
    assert took_s < on_this_machine(2.0)
    assert "by itself" not in node.text()[said:], "the lease was not given back"
    await all_ended(left)
    await all_came_once(cluster, eye, consumer, names)
    await eventually(lambda: node.agent() not in {0, agent}, 40, what="the agent is back")
    await cluster.whole(leader)
    await sftp_batch(cluster.ports[leader], "alice", ["ls"], key=cluster.partner.key)
    print(f"agent killed: the other node leads after {took_s:.2f} s")


async def test_the_guardian_dies(cluster: Cluster, eye: Eye) -> None:
    """Goal: nothing outlives the guardian. Method: SIGKILL it alone, on the node that does not lead."""
    leader = await eye.leader()
    node = cluster.nodes["b" if leader == "a" else "a"]
    # A test before may have restarted it: an outbound worker comes a moment after the node is ready.
    await eventually(lambda: node.workers("inbound") and node.workers("outbound"), what="all its processes")
    family, said = node.family(), logged(cluster)
    node.send(signal.SIGKILL)
    await all_ended(family)
    await node.ended()
    assert await eye.leader() == leader or were_starved(cluster, said)


async def test_the_agent_comes_before_its_workers(cluster: Cluster) -> None:
    """Goal: the lease is renewed however busy the workers are. Method: the processes' priorities, where one may."""
    node = cluster.nodes["a"]
    guardian = os.getpriority(os.PRIO_PROCESS, node.pid)

    def is_so() -> bool:  # Not from the first moment of a process that was just started again.
        agent, workers = node.agent(), [*node.workers("outbound"), *node.workers("inbound")]
        priority = _priority(agent) if agent else None
        comes_first = priority is not None and (priority < guardian or os.geteuid() != 0)
        return comes_first and len(workers) == 2 and all(_priority(worker) == guardian for worker in workers)

    await eventually(is_so, 40, what="an agent that comes before its workers")


async def test_outbound_workers_interrupt_nobody(cluster: Cluster) -> None:
    """Goal: who sends does not hold up who answers users. Method: how the processes' threads are scheduled."""
    node = cluster.nodes["a"]

    def is_so() -> bool:
        outbound, inbound = node.workers("outbound"), node.workers("inbound")
        if not outbound or not inbound:
            return False
        kinds = [_scheduling(pid) for pid in (*outbound, *inbound)]
        usual = os.sched_getscheduler(0)  # Another where the tests were started so; then it stays.
        return kinds == [{os.SCHED_BATCH if usual == os.SCHED_OTHER else usual}, {usual}]

    await eventually(is_so, 40, what="an outbound worker that waits for its turn")


def _scheduling(pid: int) -> set[int]:
    """Give the kinds of scheduling of a process's threads; none if it is gone."""
    try:
        return {os.sched_getscheduler(int(thread)) for thread in os.listdir(f"/proc/{pid}/task")}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def _priority(pid: int) -> int | None:
    try:
        return os.getpriority(os.PRIO_PROCESS, pid)
    except ProcessLookupError:  # It was killed by the test before.
        return None


async def test_the_whole_node_dies(cluster: Cluster, eye: Eye, consumer: Consumer) -> None:
    """Goal: the other node goes on within the time to live and a second. Method: SIGKILL all of the leader."""
    leader = await eye.leader()
    names = numbered("node", 400)
    cluster.give(*names)
    await under_way(consumer, 30)
    killed = time.monotonic()
    cluster.nodes[leader].kill()
    await asyncio.sleep(0.2)  # What the partner's server still had in hand.
    before = len(consumer.took)
    later = numbered("later", 20)  # All of the first may have arrived.
    cluster.give(*later)
    names += later
    await eventually(lambda: len(consumer.took) > before, 12 * TTL_S, what="the other node delivers", every_s=0.01)
    took_s = consumer.took[before][1] - killed
    await all_came_once(cluster, eye, consumer, names)
    print(f"node killed: next delivery after {took_s:.2f} s")
    assert took_s <= TTL_S + on_this_machine(1.5), "failover"  # A second is promised, on a machine that is not busy.


async def test_a_terminated_leader_hands_over(cluster: Cluster, eye: Eye, consumer: Consumer) -> None:
    """Goal: a clean stop hands over at once, ends with 0 and leaves nothing. Method: SIGTERM amid deliveries."""
    leader = await eye.leader()
    node = cluster.nodes[leader]
    names = numbered("term", 120)
    cluster.give(*names)
    await under_way(consumer, 20)
    family, began = node.family(), time.monotonic()
    node.send(signal.SIGTERM)
    await eye.leader(not_=leader)
    took_s = time.monotonic() - began
    assert await node.ended() == 0
    await all_ended(family)
    await all_came_once(cluster, eye, consumer, names)
    print(f"SIGTERM: handed over after {took_s:.2f} s")
    assert took_s < on_this_machine(1.0)


async def test_a_second_signal_ends_at_once(cluster: Cluster) -> None:
    """Goal: who asks twice does not wait for sessions. Method: hold a session, SIGTERM, see it drain, SIGTERM again."""
    document = cluster.base()
    document["services"]["main"]["drain_s"] = 120.0
    await cluster.whole("b", version=await cluster.apply(document))
    node = cluster.nodes["b"]
    async with held_session(cluster.ports["b"], "alice", cluster.partner.key) as session:
        (cluster.home / "second").unlink(missing_ok=True)
        await session.do(f"put {cluster.folder / 'config.json'} second")
        await session.do("ls")
        (cluster.folder / "y").write_bytes(b"y")
        await session.do(f"put {cluster.folder / 'y'} y")
        family = node.family()
        node.send(signal.SIGTERM)
        await eventually(lambda: "stopping" in node.text().rpartition("config in use")[2], 30, what="it drains")
        began = time.monotonic()
        node.send(signal.SIGTERM)
        await node.ended(60)
        await all_ended(family)
        took_s = time.monotonic() - began
    print(f"second SIGTERM: ended after {took_s:.2f} s")
    assert took_s < 60
