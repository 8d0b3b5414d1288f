"""What the tests of faults say of deliveries: that they are under way, and that each came once."""

from __future__ import annotations

import os

from tests.rig.cluster import Cluster, Consumer, Eye
from tests.rig.waiting import eventually

DELIVERED_S_MAX = 60.0


async def all_came_once(cluster: Cluster, eye: Eye, consumer: Consumer, names: list[str]) -> None:
    """Wait until all came, nothing is open any more, and then check that each came once."""
    await eventually(lambda: set(names) <= set(consumer.names), DELIVERED_S_MAX, what="all files came")

    async def settled() -> bool:
        return not await eye.records() and not any(files for _, _, files in os.walk(cluster.outgoing))

    await eventually(settled, DELIVERED_S_MAX, what="nothing is open", every_s=0.1)
    consumer.look()
    assert sorted(consumer.names) == sorted(names)


def were_starved(cluster: Cluster, said: dict[str, int]) -> bool:
    """Say whether a node gave its lease up because the machine let it stand still: then another rightly leads.

    `said` is what `logged` gave before.
    """
    texts = (node.text()[said.get(name, 0) :] for name, node in cluster.nodes.items())
    return any("stood still" in text or "could not be renewed in time" in text for text in texts)


def logged(cluster: Cluster) -> dict[str, int]:
    """Give how much each node has logged."""
    return {name: len(node.text()) for name, node in cluster.nodes.items()}


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:03d}.dat" for number in range(count)]


async def under_way(consumer: Consumer, count: int) -> None:
    await eventually(lambda: len(consumer.took) >= count, DELIVERED_S_MAX, what=f"{count} files came", every_s=0.005)
