"""A cluster of its own for each test: what is done to its etcd here is not undone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rig.cluster import Cluster, Consumer


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Run etcd, controller, nodes `a` and `b`, and a partner; one transfer moves, another keeps its sources."""
    cluster = Cluster(tmp_path / "cluster")
    try:
        await cluster.start("a", "b")
        document = cluster.base()
        moves = document["transfers"]["out"]
        (cluster.home / "kept").mkdir()
        document["transfers"]["copy"] = {**moves, "source_path": "kept", "delete_source": False}
        await cluster.whole("a", "b", "ctl", version=await cluster.apply(document))
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
async def consumer(cluster: Cluster) -> AsyncIterator[Consumer]:
    """Take every file at the partner as soon as it appears."""
    async with Consumer(cluster.inbox, cluster.folder / "took").running() as consumer:
        yield consumer
