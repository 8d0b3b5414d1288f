"""Who makes which run, and that a run is told to end. The workers' ends of their channels are held by the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mft.agent.outbound_pool import OutboundPool
from mft.agent.supervisor import Worker
from mft.errors import Unavailable
from mft.transfers.steering import Ending
from mft.worker.frames import Channel, Commit, Finish, Order, Ran, Report, Run


class Far:
    """The end of a channel at which a worker would be."""

    def __init__(self, worker: Worker, channel: Channel[Order]) -> None:
        self.worker = worker
        self._channel = channel

    async def order(self) -> Order | None:
        """Give the next order."""
        return await self._channel.receive()

    def close(self) -> None:
        """Close it."""
        self._channel.close()


@asynccontextmanager
async def far_end(number: int) -> AsyncIterator[Far]:
    """Give a worker whose process only sleeps, and what it would hear."""
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec("sleep", "60")
    near: Channel[Report] = Channel(*await asyncio.open_unix_connection(sock=ours), Report)
    far: Channel[Order] = Channel(*await asyncio.open_unix_connection(sock=theirs), Order)
    try:
        yield Far(Worker(number, process, near, ours), far)
    finally:
        near.close()
        far.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def order(run: int) -> Run:
    """Describe a run."""
    return Run(run=run, transfer="t", group="g", incarnation="i", create_revision=1, deadline=0.0, records={})


async def nothing(_: Commit) -> None:
    """Write nothing."""


async def test_runs_of_one_affinity_stay_with_one_worker() -> None:
    """Goal: what shares limits shares a process, and is spread otherwise. Method: six runs on two workers, one dies."""
    pool = OutboundPool(lambda _: None)
    made: list[tuple[int, str]] = []

    async def run(number: int, affinity: str) -> None:
        try:
            await pool.run(order(number), nothing, affinity, Ending())
        except Unavailable:
            made.append((number, "lost"))

    async with far_end(1) as one, far_end(2) as two, asyncio.TaskGroup() as tasks:
        for far in (one, two):
            pool.began(far.worker)
        for number, affinity in enumerate(["x", "y", "x", "x", "y", "z"], 1):
            tasks.create_task(run(number, affinity), name=f"run:{number}")
        seen = {far.worker.number: [await far.order() for _ in range(3)] for far in (one, two)}
        runs = {worker: [each.run for each in orders if isinstance(each, Run)] for worker, orders in seen.items()}
        assert runs == {1: [1, 3, 4], 2: [2, 5, 6]}
        for number in (2, 5, 6):
            pool.reported(two.worker, Ran(run=number))
        pool.ended(one.worker)
        tasks.create_task(run(7, "x"), name="run:7")
        moved = await two.order()
        assert isinstance(moved, Run)
        assert moved.run == 7
        pool.reported(two.worker, Ran(run=7))
    assert sorted(made) == [(1, "lost"), (3, "lost"), (4, "lost")]


@pytest.mark.parametrize("asked", ["before", "during"])
async def test_a_run_is_told_to_take_nothing_new(asked: str) -> None:
    """Goal: a pause reaches a run, whenever it comes. Method: ask before it begins, and while it is under way."""
    pool = OutboundPool(lambda _: None)
    ending = Ending()
    if asked == "before":
        ending.ask()
    async with far_end(1) as far, asyncio.TaskGroup() as tasks:
        pool.began(far.worker)
        tasks.create_task(pool.run(order(1), nothing, "x", ending), name="run")
        begun = await far.order()
        assert isinstance(begun, Run)
        assert begun.finish is (asked == "before")
        if asked == "during":
            ending.ask()
            ending.ask()
            assert await far.order() == Finish(run=1)
        pool.reported(far.worker, Ran(run=1))
