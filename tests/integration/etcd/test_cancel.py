"""A cancelled call ends as cancelled, whatever its outcome at that moment: else whoever loops over calls never ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mft.errors import MftError
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from tests.rig.etcd import run_etcd

ROUNDS = 3


async def test_watch_is_cancelled_while_its_server_dies(tmp_path: Path) -> None:
    """Goal: no cancellation is lost in grpc. Method: SIGKILL etcd, and cancel watches a moment later, several times."""

    async def watch(client: EtcdClient, key: str) -> None:
        async with client.watch(key) as watching:
            async for _ in watching.follow():
                pass

    for number in range(ROUNDS):
        async with run_etcd(tmp_path / str(number)) as etcd, EtcdClient([etcd.endpoint]) as client:
            async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
                watches = [tasks.create_task(watch(client, f"{n}"), name=f"watch:{n}") for n in range(20)]
                await asyncio.sleep(0.2)
                await asyncio.gather(asyncio.to_thread(etcd.kill), _cancel(watches))
            assert all(task.cancelled() for task in watches)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        await asyncio.sleep(0.0005)
        task.cancel()


async def test_cancelled_block_ends_as_cancelled_although_its_work_fails() -> None:
    """Goal: as above, for a block with a task beside it. Method: the task fails when it is cancelled with the block."""

    async def fail() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise MftError("its connection is gone")

    async def block() -> None:
        try:
            async with beside(fail(), name="fail"):
                await asyncio.sleep(3600)
        except MftError:
            await asyncio.sleep(3600)

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(block(), name="block")
        await asyncio.sleep(0.01)
        task.cancel()
    assert task.cancelled()
