"""Programs whose etcd is not there, and the one-host start with etcd embedded in the controller."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rig.cluster import Cluster, all_ended
from tests.rig.waiting import eventually


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster that nothing of has been started."""
    cluster = Cluster(tmp_path / "bare")
    try:
        yield cluster
    finally:
        cluster.kill()


async def test_without_etcd_programs_wait_and_say_so(bare: Cluster) -> None:
    """Goal: an unreachable etcd is a clear line, tried again, never a traceback.

    Method: start all three without it, then start it: the node joins and applies what is published.
    """
    await bare.begin_home()
    node = bare.node("a")
    bare.controller.launch()
    node.launch()
    line = "etcd cannot be reached, trying again"
    await eventually(lambda: line in node.text() and line in bare.controller.text(), 40, what="both say so")
    result = await bare.admin("status")
    assert result.code == 5, result
    assert len(result.errors.splitlines()) == 1, result.errors
    assert bare.etcd is not None
    await bare.etcd.start()
    await eventually(bare.answers, 30, what="the controller answers", every_s=0.1)
    document = bare.base()
    del document["transfers"], document["locations"]
    await bare.whole("a", version=await bare.apply(document))
    for one in (bare.controller, node):
        assert "Traceback" not in one.text()
    assert "Traceback" not in result.errors


async def test_one_host_start_keeps_its_data(tmp_path: Path) -> None:
    """Goal: the embedded etcd comes back with its data and nothing outlives the controller. Method: SIGKILL it."""
    cluster = Cluster(tmp_path / "one", embedded=True)
    try:
        await cluster.start("a")
        document = cluster.base()
        del document["transfers"], document["locations"]
        version = await cluster.apply(document)
        await cluster.whole("a", "ctl", version=version)
        family = cluster.controller.family()
        assert len(family) >= 4, "controller, etcd, guardian, agent"
        cluster.controller.send(signal.SIGKILL)
        await all_ended(family)
        await cluster.controller.ended()
        cluster.controller.launch()
        await cluster.whole("a", "ctl", version=version)
        shown = await cluster.admin("config", "history")
        assert shown.code == 0, shown.errors
        assert str(version) in shown.output
        document["server"]["description"] = "after the kill"
        await cluster.whole("a", "ctl", version=await cluster.apply(document))
        family = cluster.controller.family()
        assert await cluster.controller.terminate() == 0
        await all_ended(family)
        assert "Traceback" not in cluster.controller.text()
    finally:
        cluster.kill()


async def test_bad_options_are_one_line(bare: Cluster) -> None:
    """Goal: what cannot be used is said in one line with the option's name. Method: endpoints that are none."""
    for number, endpoint in enumerate(("http://127.0.0.1:2379", "here", "")):
        node = bare.node(f"bad{number}", etcd=endpoint or "-")
        node.launch()
        assert await node.ended(60) == 1
        assert "--etcd" in node.text()
        assert "Traceback" not in node.text()


async def test_a_node_of_another_cluster_stays_away(bare: Cluster, tmp_path: Path) -> None:
    """Goal: a folder with other keys is not used. Method: trust another controller's keys; then damage the own ones.

    A node that trusts a foreign signing key must refuse this cluster's answer; it ends, and says why.
    """
    assert bare.etcd is not None
    await bare.begin_home()
    await bare.etcd.start()
    bare.controller.launch()
    await eventually(bare.answers, 30, what="the controller answers", every_s=0.1)
    other = Cluster(tmp_path / "other")
    await other.begin_home()
    node = bare.node("x", "--trust", str(other.folder / "ctl" / "public.json"))
    node.launch()
    assert await node.ended(60) != 0
    assert "not trusted" in node.text()
    assert "Traceback" not in node.text()
