"""What programs depend on goes away, or they themselves are frozen: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import os
import signal

from tests.e2e.cluster.deliveries import all_came_once, numbered, under_way
from tests.rig.cluster import TTL_S, Cluster, Consumer, Eye, all_ended, greets
from tests.rig.sftp import sftp_batch
from tests.rig.waiting import eventually


async def _give_slowly(cluster: Cluster, names: list[str], every_s: float) -> None:
    for name in names:
        cluster.give(name)
        await asyncio.sleep(every_s)


async def test_a_leader_that_sleeps_and_wakes(cluster: Cluster, eye: Eye, consumer: Consumer) -> None:
    """Goal: an ex-leader that wakes up does no harm.

    Method: SIGSTOP all of the leader amid deliveries for longer than the time to live, then SIGCONT while the other
    node delivers, with files arriving all the time.
    """
    leader = await eye.leader()
    node = cluster.nodes[leader]
    names = numbered("sleep", 200)
    cluster.give(*names[:100])
    await under_way(consumer, 25)
    node.pause()
    try:
        await eye.leader(not_=leader)
        cluster.give(*names[100:150])
        await asyncio.sleep(0.3)
    finally:
        node.resume()
    await _give_slowly(cluster, names[150:], 0.01)
    await all_came_once(cluster, eye, consumer, names)
    await cluster.whole(leader)


async def test_etcd_is_away_and_comes_back(cluster: Cluster, eye: Eye, consumer: Consumer) -> None:
    """Goal: without etcd outbound pauses and inbound goes on; then it resumes.

    Method: kill etcd under a running leader for longer than the time to live, with files arriving; start it again.
    """
    assert cluster.etcd is not None
    names = numbered("etcd", 150)
    cluster.give(*names[:80])
    await under_way(consumer, 20)
    cluster.etcd.kill()
    await asyncio.sleep(TTL_S + 0.5)  # The very state: longer than the time to live.
    consumer.look()
    paused = len(consumer.took)
    cluster.give(*names[80:])
    await sftp_batch(cluster.ports["a"], "alice", ["ls"], key=cluster.partner.key)
    await asyncio.sleep(0.5)
    consumer.look()
    assert len(consumer.took) == paused, "outbound went on without a lease"
    await cluster.etcd.start()
    await all_came_once(cluster, eye, consumer, names)


async def test_the_controller_dies(cluster: Cluster, eye: Eye, consumer: Consumer) -> None:
    """Goal: nodes need no controller. Method: SIGKILL it alone, deliver, start it again, apply."""
    family = cluster.controller.family()
    cluster.controller.send(signal.SIGKILL)
    await all_ended(family)
    await cluster.controller.ended()
    names = numbered("ctl", 20)
    cluster.give(*names)
    await all_came_once(cluster, eye, consumer, names)
    refused = await cluster.admin("nodes", "list")
    assert refused.code == 5
    assert "Traceback" not in refused.errors
    assert len(refused.errors.splitlines()) == 1, refused.errors
    await cluster.whole("a", "b", "ctl")
    document = cluster.base()
    document["server"]["description"] = "after the controller's death"
    await cluster.whole("a", "b", "ctl", version=await cluster.apply(document))


async def test_a_node_starts_with_nothing_but_its_disk(cluster: Cluster) -> None:
    """Goal: without controller and etcd a node restarts from its snapshot.

    Method: kill both, then the node; start it; an OpenSSH client logs in, uploads and downloads.
    """
    assert cluster.etcd is not None
    cluster.controller.kill()
    cluster.etcd.kill()
    node = cluster.nodes["a"]
    node.kill()
    node.launch()
    content = os.urandom(300_000)
    source, back = cluster.folder / "offline.src", cluster.folder / "offline.back"
    source.write_bytes(content)
    back.unlink(missing_ok=True)
    await eventually(lambda: greets(cluster.ports["a"]), 40, what="it serves", every_s=0.05)
    commands = [f"put {source} offline.dat", f"get offline.dat {back}"]
    await sftp_batch(cluster.ports["a"], "alice", commands, key=cluster.partner.key)
    assert back.read_bytes() == content
    assert "Traceback" not in node.text()
    assert "etcd cannot be reached" in node.text()
