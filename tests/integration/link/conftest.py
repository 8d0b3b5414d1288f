"""A running cluster for the tests of this folder: etcd, a controller without an agent's work, nodes, a partner."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.rig.cluster import Cluster
from tests.rig.etcd import Etcd
from tests.rig.leaks import processes_left
from tests.rig.processes import descendants


@pytest.fixture(scope="package")
def running(_scratch: Path, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run etcd, controller, node `a`, and a partner; afterwards nothing of them is left.

    The etcd that all tests share, which some tests here use, is started before: it outlives this.
    """
    before = set(descendants(os.getpid()))
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        asyncio.run(_begin(cluster))
        yield cluster
    finally:
        cluster.kill()
    if left := processes_left(before):
        pytest.fail(f"processes left behind: {left}", pytrace=False)


async def _begin(cluster: Cluster) -> None:
    await cluster.start("a")
    await cluster.whole("a", "ctl", version=await cluster.apply(cluster.base()))


@pytest.fixture
def _nothing_left() -> None:
    """Instances restart their processes at will here; that none is left is checked when the cluster has ended."""


@pytest.fixture
async def cluster(running: Cluster) -> Cluster:
    """Give the running cluster, whole and with the base config."""
    if not running.controller.running():
        running.controller.launch()
        await running.whole("a", "ctl")
    await running.whole("a", version=await running.apply(running.base()))
    for path in running.inbox.iterdir():
        path.unlink()
    return running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of each program's log to the report of a test that failed."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("running")
    if report.failed and isinstance(cluster, Cluster):
        for one in (cluster.controller, *cluster.nodes.values()):
            report.sections.append((f"log of {one.name}", one.tail(40)))
    return report
