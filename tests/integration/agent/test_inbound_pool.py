"""The share of sessions among inbound workers, with real processes and channels at the pool's edge."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from mft.agent.inbound_pool import InboundPool
from mft.agent.supervisor import Worker
from mft.worker import frames


class Far:
    """A worker as the pool has it, and the far end at which its orders arrive."""

    def __init__(self, worker: Worker, near: frames.Channel[frames.Report], far: frames.Channel[frames.Order]) -> None:
        self.worker = worker
        self._near = near
        self._far = far

    async def orders(self) -> list[frames.Order]:
        """Return the orders that have come since the last look."""
        self.worker.send(frames.Listen(service="end of the look"))
        found: list[frames.Order] = []
        while (order := await self._far.receive()) != frames.Listen(service="end of the look"):
            assert order is not None
            found.append(order)
        return found

    def close(self) -> None:
        """Close both ends."""
        self._near.close()
        self._far.close()


@pytest.fixture
async def three() -> AsyncIterator[list[Far]]:
    """Give three workers."""
    process = await asyncio.create_subprocess_exec("sleep", "600")
    made: list[Far] = []
    sockets: list[socket.socket] = []
    try:
        for number in range(3):
            left, right = socket.socketpair()
            near = frames.Channel[frames.Report](*await asyncio.open_unix_connection(sock=left), frames.Report)
            far = frames.Channel[frames.Order](*await asyncio.open_unix_connection(sock=right), frames.Order)
            pair = socket.socketpair()
            sockets += pair
            made.append(Far(Worker(number, process, near, pair[0]), near, far))
        yield made
    finally:
        for each in made:
            each.close()
        for each_socket in sockets:
            each_socket.close()
        process.kill()
        await process.wait()


def _pool() -> InboundPool:
    return InboundPool(lambda _: None, lambda _: None)


async def test_a_worker_above_its_share_pauses_and_goes_on(three: list[Far]) -> None:
    """Goal: who has well more than its share leaves connections to others. Method: report loads, read orders."""
    pool = _pool()
    for each in three:
        pool.began(each.worker)
    pool.reported(three[0].worker, frames.Load(sessions=8))
    assert await three[0].orders() == [], "a handful of sessions is no load"
    pool.reported(three[0].worker, frames.Load(sessions=30))
    assert await three[0].orders() == [frames.Accept(on=False)]
    pool.reported(three[1].worker, frames.Load(sessions=28))
    pool.reported(three[2].worker, frames.Load(sessions=29))
    assert await three[0].orders() == [frames.Accept(on=True)]
    assert await three[1].orders() == [frames.Accept(on=False), frames.Accept(on=True)]
    assert pool.sessions == 87


async def test_one_that_dies_is_forgotten_and_the_others_accept(three: list[Far]) -> None:
    """Goal: never are all paused. Method: the least loaded worker dies; the paused one must accept again."""
    pool = _pool()
    for each in three[:2]:
        pool.began(each.worker)
    pool.reported(three[0].worker, frames.Load(sessions=40))
    assert await three[0].orders() == [frames.Accept(on=False)]
    pool.ended(three[1].worker)
    assert await three[0].orders() == [frames.Accept(on=True)]
    pool.began(three[2].worker)
    pool.reported(three[2].worker, frames.Load(sessions=1))
    assert await three[0].orders() == [frames.Accept(on=False)]


async def test_a_new_worker_knows_what_the_others_know(three: list[Far]) -> None:
    """Goal: a worker started again serves at once. Method: config and listener are there before it begins."""
    pool = _pool()
    configure = frames.Configure(node="n", version=1, config=b"x")
    pool.configure(configure)
    listener = socket.create_server(("127.0.0.1", 0))
    pool.listen("main", listener)
    pool.began(three[0].worker)
    assert await three[0].orders() == [configure, frames.Listen(service="main")]
    pool.unlisten("main", 2.0)
    assert await three[0].orders() == [frames.Unlisten(service="main", drain_s=2.0)]
    assert listener.fileno() == -1
