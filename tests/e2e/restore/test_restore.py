"""etcd is lost amid deliveries and comes back from a backup: nothing is sent again, nothing is left out."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

from mft.cluster.life import BEAT_S
from tests.e2e.cluster.deliveries import numbered, under_way
from tests.rig.cluster import Cluster, Consumer, Eye
from tests.rig.etcd import Etcd
from tests.rig.waiting import eventually

SETTLED_S_MAX = 90.0


def keep(cluster: Cluster, *names: str) -> None:
    """Put sources into the folder of the transfer that keeps them."""
    for name in names:
        hidden = cluster.home / f".{name}.tmp"
        hidden.write_bytes(name.encode() * 100)
        hidden.rename(cluster.home / "kept" / name)


async def restore_status(cluster: Cluster) -> dict[str, Any]:
    """Ask an administrator's program how far the restore is."""
    result = await cluster.admin("restore", "status", "--output", "json")
    assert result.code == 0, result.errors
    status: dict[str, Any] = json.loads(result.output)
    return status


async def came(consumer: Consumer, names: list[str]) -> None:
    """Wait until all of these came, and check that each came once."""
    await eventually(lambda: set(names) <= set(consumer.names), SETTLED_S_MAX, what="all files came")
    consumer.look()
    assert sorted(consumer.names) == sorted(names)


async def _nothing_open(cluster: Cluster, eye: Eye) -> bool:
    return not await eye.records() and not any(files for _, _, files in os.walk(cluster.outgoing))


async def _forgotten(cluster: Cluster, name: str) -> bool:
    """Forget a node; it is refused for as long as its lease of the time before lasts."""
    return (await cluster.admin("nodes", "forget", name)).code == 0


async def lose_etcd_amid_deliveries(cluster: Cluster, consumer: Consumer) -> tuple[Path, list[str], str]:
    """Save etcd, deliver more, and kill it amid deliveries. Give the backup, all names, and who led."""
    assert isinstance(cluster.etcd, Etcd)
    names = [*numbered("m0", 20), *numbered("k0", 20)]
    cluster.give(*names[:20])
    keep(cluster, *names[20:])
    await came(consumer, names)
    backup = cluster.folder / "backup"
    await cluster.etcd.ctl("snapshot", "save", str(backup))
    more = numbered("k1", 20)
    keep(cluster, *more)
    await came(consumer, [*names, *more])
    # The very state: everybody has marked etcd since it was saved.
    await asyncio.sleep(1.5 * BEAT_S)
    async with cluster.eye() as eye:
        leader = await eye.leader()
    last = numbered("m1", 150)
    cluster.give(*last)
    await under_way(consumer, len(names) + len(more) + 20)
    cluster.etcd.kill()
    return backup, [*names, *more, *last], leader


async def test_a_restore_resends_nothing(cluster: Cluster, consumer: Consumer) -> None:
    """Goal: what etcd has lost, the nodes' records bring back, and before that nobody leads.

    Method: lose etcd amid deliveries and the leader with it; restore a backup, made to look newer than what was lost;
    the other node must wait. Then start the one that led: each file came once, those that stay where they are too.
    """
    assert isinstance(cluster.etcd, Etcd)
    backup, names, leader = await lose_etcd_amid_deliveries(cluster, consumer)
    other = "b" if leader == "a" else "a"
    cluster.nodes[leader].kill()
    consumer.look()
    before = len(consumer.took)
    await cluster.etcd.restore(backup, bump_revision=1_000_000_000)

    async def waits_for_the_leader() -> bool:
        nodes = {node["name"]: node["state"] for node in (await restore_status(cluster)).get("nodes", [])}
        return nodes == {leader: "awaited", other: "posted", "ctl": "posted"}

    await eventually(waits_for_the_leader, SETTLED_S_MAX, what="all others have posted", every_s=0.5)
    shown = await cluster.admin("status")
    assert f"waits for the records of {leader}" in shown.output
    refused = await cluster.admin("restore", "accept", "--without", other)
    assert refused.code == 3
    assert "has posted its records" in refused.errors
    consumer.look()
    assert len(consumer.took) == before, "somebody led"
    assert "This instance makes no outbound transfers" in cluster.log_of(other)

    cluster.nodes[leader].launch()
    await came(consumer, names)
    async with cluster.eye() as eye:
        await eventually(lambda: _nothing_open(cluster, eye), SETTLED_S_MAX, what="nothing is open", every_s=0.2)
    status = await restore_status(cluster)
    assert not status.get("under_way")
    cluster.give("after.dat")
    keep(cluster, "after.kept")
    await came(consumer, [*names, "after.dat", "after.kept"])
    for one in (cluster.controller, *cluster.nodes.values()):
        assert "Traceback" not in one.text()


async def test_going_on_without_a_node_that_is_lost(cluster: Cluster, consumer: Consumer) -> None:
    """Goal: the operator decides, and nothing is lost by it: what may have been published is held.

    Method: the leader's machine is lost with its disk; a restore; another one under its name brings no records; accept.
    """
    assert isinstance(cluster.etcd, Etcd)
    backup, names, leader = await lose_etcd_amid_deliveries(cluster, consumer)
    node = cluster.nodes[leader]
    node.kill()
    shutil.rmtree(node.data)
    await cluster.etcd.restore(backup)

    async def waits() -> bool:
        return any(one["state"] == "awaited" for one in (await restore_status(cluster)).get("nodes", []))

    await eventually(waits, SETTLED_S_MAX, what="the restore waits", every_s=0.5)
    await eventually(lambda: _forgotten(cluster, leader), SETTLED_S_MAX, what="another may have the name", every_s=0.5)
    node.launch()

    async def is_new() -> bool:
        nodes = {one["name"]: one["state"] for one in (await restore_status(cluster)).get("nodes", [])}
        return nodes.get(leader) == "new"

    await eventually(is_new, SETTLED_S_MAX, what="the one in its place is known for what it is", every_s=0.5)
    accepted = await cluster.admin("restore", "accept", "--without", leader, "--by", "ann")
    assert accepted.code == 0, accepted.errors
    again = await cluster.admin("restore", "accept", "--without", leader)
    assert again.code == 3, "it has ended"
    await eventually(lambda: set(names) <= set(consumer.names), SETTLED_S_MAX, what="nothing is lost")
