"""Nodes join through a real etcd: admitted once, refused under another key, admitted again when forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mft.cluster.joining_etcd import join
from mft.cluster.keys import Keys
from mft.cluster.sign import SigningKey, Trust
from mft.errors import Conflict, Denied, Invalid, NotFound
from mft.etcd.client import EtcdClient
from tests.integration.config.controllers import keys_in, management
from tests.rig.etcd import PATIENT, Etcd
from tests.rig.waiting import eventually


async def test_a_node_joins_once_and_never_asks_again(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: keys arrive, sealed. Method: join before the controller comes; then without one."""
    keys, home = Keys(prefix), keys_in(tmp_path / "c", prefix)
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client, asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        joining = tasks.create_task(join(client, keys, "n1", tmp_path / "n1"), name="join")

        async def asked() -> bool:
            return (await client.kv.get(keys.join_request("n1"))).kv is not None

        await eventually(asked)
        assert not joining.done()
        async with management(etcd, tmp_path / "c", prefix) as controller:
            running = tasks.create_task(controller.run(), name="controller")
            assert await joining == home.pinned
            running.cancel()
        await client.kv.delete_prefix(keys.joins)
        assert await join(client, keys, "n1", tmp_path / "n1") == home.pinned
        assert not await asked()


async def test_another_key_under_the_name_is_refused_until_forgotten(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: a name is not stolen. Method: join from a second folder, forget, join again; forget while it runs."""
    keys = Keys(prefix)
    async with (
        EtcdClient([etcd.endpoint], times=PATIENT) as client,
        management(etcd, tmp_path / "c", prefix) as controller,
        asyncio.timeout(60),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(controller.run(), name="controller")
        await join(client, keys, "n1", tmp_path / "n1")
        with pytest.raises(Denied, match="nodes forget n1"):
            await join(client, keys, "n1", tmp_path / "thief")
        lease = await client.leases.grant(30)
        await client.kv.put(keys.alive("n1"), b"{}", lease=lease.id)
        with pytest.raises(Conflict, match="running"):
            await controller.operations.forget_node("n1")
        await client.leases.revoke(lease.id)
        await controller.operations.forget_node("n1")
        assert (await join(client, keys, "n1", tmp_path / "thief")).cluster == prefix
        with pytest.raises(NotFound):
            await controller.operations.forget_node("nobody")
        running.cancel()


async def test_with_a_trust_file_only_its_keys_are_believed(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: a false controller admits nobody. Method: a node that trusts the true key, one that trusts another."""
    keys, home = Keys(prefix), keys_in(tmp_path / "c", prefix)
    async with (
        EtcdClient([etcd.endpoint], times=PATIENT) as client,
        management(etcd, tmp_path / "c", prefix) as controller,
        asyncio.timeout(60),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(controller.run(), name="controller")
        assert await join(client, keys, "n1", tmp_path / "n1", home.pinned.trust()) == home.pinned
        with pytest.raises(Invalid, match="not trusted"):
            await join(client, keys, "n2", tmp_path / "n2", Trust([SigningKey.generate().public]))
        running.cancel()


async def test_rubbish_under_join_stops_nobody(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: anybody may write there. Method: rubbish keys and values, then a good node."""
    keys = Keys(prefix)
    async with (
        EtcdClient([etcd.endpoint], times=PATIENT) as client,
        management(etcd, tmp_path / "c", prefix) as controller,
        asyncio.timeout(60),
        asyncio.TaskGroup() as tasks,
    ):
        for name, value in [("request", b""), ("x/request", b"rubbish"), ("a/b/request", b"{}"), ("/request", b"{}")]:
            await client.kv.put(keys.joins + name, value)
        running = tasks.create_task(controller.run(), name="controller")
        assert await join(client, keys, "n1", tmp_path / "n1")
        running.cancel()
