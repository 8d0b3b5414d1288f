"""Frames between agent and worker: each comes out as it went in, over a real pair of sockets."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from mft.model.delivery import Record
from mft.worker import frames

RECORD = Record(state="intent", name="a b", names=("x", "y"), size_bytes=2**40, sha256="0" * 64, node="n")
ORDERS: tuple[frames.Frame, ...] = (
    frames.Configure(node="n", version=3, config=b"\x00\xff" * 200_000),
    frames.Listen(service="s"),
    frames.Unlisten(service="s", drain_s=1.5),
    frames.Accept(on=False),
    frames.Permit(group="g", deadline=1e6),
    frames.Run(
        run=1,
        transfer="t",
        group="g",
        incarnation="i",
        create_revision=2**60,
        deadline=2.5,
        records={"d": RECORD},
        sweep=True,
    ),
    frames.Cancel(run=1),
    frames.Probe(probe=1, locations=("a", "b"), limit_s=10.0),
    frames.Recorded(seq=1, error="why", lost=True),
    frames.Drain(drain_s=2.0),
)
REPORTS: tuple[frames.Frame, ...] = (
    frames.Ready(),
    frames.Configured(version=1, problems={"s": "why"}),
    frames.Load(sessions=3),
    frames.Commit(seq=1, run=2, puts={"d": RECORD}, forgets=("e",)),
    frames.Emit(event=1, fields={"a": 1, "b": "ü", "c": None, "d": [1.5]}, at=1.25),
    frames.Probed(probe=1, reachable=("a",)),
    frames.Ran(run=1, delivered=2, failed=3, error="why", cancelled=True),
)


async def test_each_frame_comes_out_as_it_went_in() -> None:
    """Goal: nothing is lost on the way. Method: send all orders one way and all reports the other."""
    left, right = socket.socketpair()
    agent = frames.Channel[frames.Report](*await asyncio.open_unix_connection(sock=left), frames.Report)
    worker = frames.Channel[frames.Order](*await asyncio.open_unix_connection(sock=right), frames.Order)
    try:
        for order in ORDERS:
            agent.send(order)
        for report in REPORTS:
            worker.send(report)
        assert [await worker.receive() for _ in ORDERS] == list(ORDERS)
        assert [await agent.receive() for _ in REPORTS] == list(REPORTS)
        agent.close()
        assert await worker.receive() is None
    finally:
        agent.close()
        worker.close()


async def test_a_frame_cut_off_is_the_end() -> None:
    """Goal: a peer that dies in the middle of a frame is a peer that is gone. Method: half a frame, then the end."""
    left, right = socket.socketpair()
    channel = frames.Channel[frames.Order](*await asyncio.open_unix_connection(sock=right), frames.Order)
    try:
        left.sendall((100).to_bytes(4, "big") + b"half")
        left.close()
        assert await channel.receive() is None
    finally:
        channel.close()


async def test_a_frame_that_comes_in_pieces() -> None:
    """Goal: waiting for a frame may be given up at any moment. Method: byte by byte, each wait cancelled."""
    left, right = socket.socketpair()
    worker = frames.Channel[frames.Order](*await asyncio.open_unix_connection(sock=right), frames.Order)
    body = msgspec.msgpack.encode(ORDERS[5])
    with left:
        try:
            data = len(body).to_bytes(frames.HEADER_BYTES, "big") + body
            for number in range(len(data)):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await worker.receive()
                left.send(data[number : number + 1])
            assert await worker.receive() == ORDERS[5]
        finally:
            worker.close()
