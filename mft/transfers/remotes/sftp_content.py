"""Content to and from one open SFTP handle, with as many requests under way as fill the road."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from mft.transfers.remotes import sftp_wire as wire
from mft.transfers.remotes.base import PIECE_BYTES, Content
from mft.transfers.remotes.sftp_exchange import Exchange, Outcome
from mft.transfers.remotes.sftp_wire import Answer, Code, Kind, Refused

_UNDER_WAY_BYTES_MAX = 16 * PIECE_BYTES
"""Bytes under way for one file: 30 MiB/s at 130 ms."""


class _UnderWay:
    """Requests of one upload that are not yet answered, and the first that was refused."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._requests = 0
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self.failed: Exception | None = None

    def send(self, kind: Kind, body: bytes, content: Content = b"", *, offered: bool = True) -> None:
        """Begin a request. With `offered` False it is a courtesy that the server need not know."""
        size = len(content)
        self._requests += 1
        self._bytes += size
        self._exchange.unanswered_bytes += size

        def answered(outcome: Outcome) -> None:
            self._requests -= 1
            self._bytes -= size
            self._exchange.unanswered_bytes -= size
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                wire.status(outcome)
            except Exception as error:
                forgiven = not offered and isinstance(error, Refused) and error.code == Code.UNSUPPORTED
                self.failed = self.failed or (None if forgiven else error)
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)

        self._exchange.send(kind, body, answered, content)

    async def room(self) -> None:
        """Wait until more may be sent, or something has failed."""
        while self._bytes >= _UNDER_WAY_BYTES_MAX and self.failed is None:
            await self._answer()

    async def empty(self) -> None:
        """Wait until all is answered."""
        while self._requests:
            await self._answer()

    async def _answer(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake


async def send_content(
    exchange: Exchange, handle: bytes, content: AsyncIterator[Content], offset: int, *, in_order: bool
) -> int:
    """Write the content from `offset` on, sync, close the handle. Return the content's size.

    A server that works in order gets sync and close together with the last blocks: for a small file that is one round
    trip instead of three. Elsewhere a sync could overtake a write, and then would promise nothing.
    """
    size_bytes = 0
    most = exchange.write_bytes_max
    under_way = _UnderWay(exchange)
    is_open = True
    try:
        async for piece in content:
            view = memoryview(piece)
            for start in range(0, len(piece), most):
                await under_way.room()
                block = view[start : start + most]
                body = wire.writing(handle, offset + size_bytes + start, len(block))
                under_way.send(Kind.WRITE, body, block)
            size_bytes += len(piece)
            if under_way.failed:
                break
        if not in_order:
            await under_way.empty()
        if wire.FSYNC in exchange.extensions and not under_way.failed:
            under_way.send(Kind.EXTENDED, wire.string(wire.FSYNC) + wire.string(handle), offered=False)
            if not in_order:
                await under_way.empty()
        is_open = False
        under_way.send(Kind.CLOSE, wire.string(handle))
        await under_way.empty()
    finally:
        if is_open:
            exchange.let_go(handle)
    if under_way.failed:
        raise under_way.failed
    return size_bytes


async def receive_content(
    exchange: Exchange, handle: bytes, offset: int, *, in_order: bool
) -> AsyncGenerator[Content, None]:
    """Give the content from `offset` on, piece by piece, reading ahead while a piece is worked on.

    Few blocks ahead at first: most files are small.
    """
    block_bytes = exchange.read_bytes_max
    blocks: deque[tuple[int, asyncio.Future[Answer]]] = deque()
    ahead, asked = 1, offset
    most = max(2, _UNDER_WAY_BYTES_MAX // block_bytes)
    try:
        while True:
            while len(blocks) < ahead:
                blocks.append((asked, _ask(exchange, handle, asked, block_bytes)))
                asked += block_bytes
            ahead = min(2 * ahead, most)
            piece: list[memoryview] = []
            size_bytes, is_last = 0, False
            while not is_last and (
                not piece or (blocks and blocks[0][1].done() and size_bytes + block_bytes <= PIECE_BYTES)
            ):
                at, answer = blocks.popleft()
                block = wire.data(await answer)
                while 0 < len(block) < block_bytes and not in_order:
                    # Only where a server reads a file by single calls in order, less than asked is its end.
                    more = wire.data(await _ask(exchange, handle, at + len(block), block_bytes - len(block)))
                    if not more:
                        break
                    block = memoryview(b"".join((block, more)))
                piece.append(block)
                size_bytes += len(block)
                is_last = len(block) < block_bytes
            if size_bytes:
                yield piece[0] if len(piece) == 1 else b"".join(piece)
            if is_last:
                return
    finally:
        for _, answer in blocks:
            answer.cancel()


def _ask(exchange: Exchange, handle: bytes, offset: int, size_bytes: int) -> asyncio.Future[Answer]:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answered(outcome: Outcome) -> None:
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
            future.exception()  # Looked at: the content may be given up before its turn.
        else:
            future.set_result(outcome)

    exchange.send(Kind.READ, wire.reading(handle, offset, size_bytes), answered)
    return future
