"""Requests and answers on one channel, with a server that does what real ones must not."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable
from typing import Any, cast

import pytest

from mft.transfers.remotes import sftp_wire as wire
from mft.transfers.remotes.sftp_bundles import send_whole
from mft.transfers.remotes.sftp_exchange import Exchange, Lost, Request
from mft.transfers.remotes.sftp_wire import Garbled, Kind, Refused

VERSION = struct.pack(">IBI", 5, Kind.VERSION, 3)


class Wire:
    """The channel as an exchange sees it: keeps each piece that was written, and whether it was given up."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.pieces.append(data)

    def abort(self) -> None:
        """Remember that."""
        self.is_aborted = True


async def begun(limit_s: float = 60.0) -> tuple[Exchange, Wire]:
    """Give an exchange with a server without extensions."""
    exchange, channel = Exchange(limit_s), Wire()
    exchange.connection_made(cast(Any, channel))
    exchange.data_received(VERSION, None)
    await exchange.begin()
    await turn()
    channel.pieces.clear()
    return exchange, channel


def done(number: int, code: int = 0) -> bytes:
    """Write a status to a request."""
    body = struct.pack(">I", code) + wire.string(b"words") + wire.string(b"")
    return wire.head(Kind.STATUS, number, len(body)) + body


async def turn() -> None:
    """Let everything that is due run."""
    for _ in range(6):
        await asyncio.sleep(0)


async def outcome(call: Awaitable[object]) -> object:
    """Return what the call returns or raises."""
    try:
        return await call
    except Exception as error:
        return error


async def test_what_is_asked_in_one_turn_leaves_together_and_is_answered_apart() -> None:
    """Goal: many small requests cost little. Method: three calls, one piece; answers out of order and in fragments."""
    exchange, channel = await begun()
    async with asyncio.TaskGroup() as tasks:
        asked = [exchange.call(Kind.REMOVE, wire.path(name), wire.status) for name in "abc"]
        calls = [tasks.create_task(outcome(call), name="call") for call in asked]
        await turn()
        assert len(channel.pieces) == 1
        answers = done(3) + done(1, 2) + done(2)
        for at in range(0, len(answers), 7):
            exchange.data_received(answers[at : at + 7], None)
    assert [type(call.result()) for call in calls] == [Refused, type(None), type(None)]
    assert exchange.unanswered == 0
    exchange.close()


async def test_a_handle_nobody_waits_for_is_closed() -> None:
    """Goal: nothing stays open at a partner. Method: cancel an open before its answer, and in the same moment."""
    body = wire.string(b"H1")
    answer = wire.head(Kind.HANDLE, 1, len(body)) + body
    for is_answered_first in (False, True):
        exchange, channel = await begun()
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(exchange.open(Kind.OPEN, wire.opening("x", 1)), name="open")
            await turn()
            if is_answered_first:
                exchange.data_received(answer, None)
            opening.cancel()
            if not is_answered_first:
                await turn()
                exchange.data_received(answer, None)
        assert opening.cancelled()
        await turn()
        assert wire.head(Kind.CLOSE, 2, len(body)) + body in b"".join(channel.pieces)
        exchange.close()


async def test_what_is_asked_together_is_answered_in_its_order() -> None:
    """Goal: each request of many finds its answer, refusals too. Method: answers in another order; then none at all."""
    exchange, channel = await begun()
    requests = [Request(Kind.REMOVE, wire.path(name)) for name in "abc"]
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(exchange.ask(requests), name="ask")
        await turn()
        assert len(channel.pieces) == 1
        exchange.data_received(done(3) + done(1, 2) + done(2), None)
    with pytest.raises(Refused):
        exchange.taken(asking.result()[0], wire.status)
    exchange.taken(asking.result()[1], wire.status)
    assert await exchange.ask([]) == []
    async with asyncio.TaskGroup() as tasks:
        lost = tasks.create_task(outcome(exchange.ask(requests)), name="ask")
        await turn()
        exchange.data_received(done(4), None)
        exchange.connection_lost(None)
    assert isinstance(lost.result(), Lost)


async def test_handles_nobody_waits_for_are_closed() -> None:
    """Goal: nothing stays open at a partner. Method: cancel three opens, one answered before, two after."""
    exchange, channel = await begun()

    def opened(number: int) -> bytes:
        body = wire.string(b"H%d" % number)
        return wire.head(Kind.HANDLE, number, len(body)) + body

    async with asyncio.TaskGroup() as tasks:
        files = [(name, b"content") for name in "abc"]
        sending = tasks.create_task(send_whole(exchange, files, in_order=True), name="send")
        await turn()
        exchange.data_received(opened(1), None)
        sending.cancel()
        await turn()
        exchange.data_received(opened(2) + opened(3), None)
    assert sending.cancelled()
    await turn()
    for number in (1, 2, 3):
        assert wire.string(b"H%d" % number) in b"".join(channel.pieces[1:])
    exchange.close()


@pytest.mark.parametrize("in_order", [False, True])
async def test_a_file_that_is_too_large_for_one_request_is_closed(in_order: bool) -> None:
    """Goal: nothing stays open at a partner. Method: a server of small writes; cancelled before answers."""
    exchange, channel = await begun()
    exchange.write_bytes_max = 1000
    async with asyncio.TaskGroup() as tasks:
        files = [("large", bytes(1001)), ("small", b"x")]
        sending = tasks.create_task(send_whole(exchange, files, in_order=in_order), name="send")
        await turn()
        for number in (1, 2):
            body = wire.string(b"H%d" % number)
            exchange.data_received(wire.head(Kind.HANDLE, number, len(body)) + body, None)
        await asyncio.sleep(0.01)
        sending.cancel()
    await asyncio.sleep(0.01)
    closed = [asked for asked in requests_in(b"".join(channel.pieces)) if asked[0] == Kind.CLOSE]
    assert sorted(body for _, body in closed) == [wire.string(b"H1"), wire.string(b"H2")]
    exchange.close()


def requests_in(data: bytes) -> list[tuple[int, bytes]]:
    """Take apart what was sent: (type, body) of each request."""
    found, at = [], 0
    while at < len(data):
        size, kind, _ = wire.split_head(data, at)
        found.append((kind, data[at + wire.HEAD_BYTES : at + 4 + size]))
        at += 4 + size
    return found


@pytest.mark.parametrize(
    "nonsense",
    [b"\xff\xff\xff\xff\x65\x00\x00\x00\x01", done(99), wire.head(Kind.ATTRS, 1, 2) + b"\x00\x00"],
    ids=["a huge packet", "an answer to nothing", "attributes cut off"],
)
async def test_nonsense_ends_the_channel(nonsense: bytes) -> None:
    """Goal: a server that cannot be understood is not believed in anything. Method: nonsense, then another call."""
    exchange, channel = await begun()
    async with asyncio.TaskGroup() as tasks:
        asked = exchange.call(Kind.LSTAT, wire.path("x"), lambda answer: wire.attributes(answer, "x"))
        call = tasks.create_task(outcome(asked), name="call")
        await turn()
        exchange.data_received(nonsense, None)
    assert isinstance(call.result(), Garbled)
    assert channel.is_aborted
    with pytest.raises(Garbled):
        await exchange.call(Kind.REMOVE, wire.path("y"), wire.status)


async def test_silence_fails_all_that_waits() -> None:
    """Goal: nothing waits for ever, though no request has a timer. Method: a limit of 50 ms and no answer."""
    exchange, channel = await begun(limit_s=0.05)
    results = await asyncio.gather(
        *(exchange.call(Kind.REMOVE, wire.path(name), wire.status) for name in "ab"), return_exceptions=True
    )
    assert [type(result) for result in results] == [TimeoutError, TimeoutError]
    assert channel.is_aborted


async def test_a_lost_connection_fails_all_that_waits() -> None:
    """Goal: a lost answer is an outage. Method: lose the connection under a call, then call again."""
    exchange, _ = await begun()
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(outcome(exchange.call(Kind.REMOVE, wire.path("x"), wire.status)), name="call")
        await turn()
        exchange.connection_lost(None)
    assert isinstance(call.result(), Lost)
    with pytest.raises(Lost):
        await exchange.call(Kind.REMOVE, wire.path("x"), wire.status)
