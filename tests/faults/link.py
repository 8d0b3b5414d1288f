"""A TCP road from a port of 127.0.0.1 to another party, which can be cut at any byte, stalled, slowed or closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PIECE_BYTES = 65536


class Way:
    """One direction of a road, which can be slowed or held by itself; `Link.open` does not touch that."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        """Added to every piece on its way, besides the road's own."""
        self._goes = asyncio.Event()
        self._goes.set()

    @property
    def is_held(self) -> bool:
        """Whether nothing passes."""
        return not self._goes.is_set()

    def hold(self) -> None:
        """Let nothing pass until `release`; what comes meanwhile passes then."""
        self._goes.clear()

    def release(self) -> None:
        """Be as quick as the road again."""
        self.delay_s = 0.0
        self._goes.set()

    async def passed(self) -> None:
        """Return when a piece may go on."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._goes.wait()


class Link:
    """One road. What was under way when it stalled arrives afterwards, even if its sender has long hung up.

    That is the network's nastiest habit: a request that the client has given up is carried out late.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        """Where to connect instead of to the target; known once it runs."""
        self.delay_s = 0.0
        """Added to every piece on its way."""
        self.is_closed = False
        """Whether new connections are refused."""
        self.requests, self.answers = Way(), Way()
        """To the target, and from it."""
        self._target_port = target_port
        self._flows = asyncio.Event()
        self._flows.set()
        self._left_bytes: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Link]:
        """Carry connections for as long as the block lasts."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.open()
            self.requests.release()
            self.answers.release()
            self.cut()
            await asyncio.sleep(0.05)  # The carriers' tasks, each now at its end.

    def cut(self) -> None:
        """Reset every connection now."""
        for writer in list(self._writers):
            writer.transport.abort()

    def cut_after(self, size_bytes: int) -> None:
        """Reset every connection when so many more bytes have passed, in whichever direction."""
        self._left_bytes = size_bytes

    def stall(self) -> None:
        """Let nothing pass until `open`; connections stay."""
        self._flows.clear()

    def open(self) -> None:
        """Be an ordinary road again."""
        self.delay_s = 0.0
        self.is_closed = False
        self._left_bytes = None
        self._flows.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_closed:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, back, self.requests), name="there")
                tasks.create_task(self._pump(there, writer, self.answers), name="back")
        finally:
            for each in (writer, back):
                self._writers.discard(each)
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        """Carry one direction to its end. Each ends by itself: the other may still have something to deliver."""
        with suppress(OSError):
            while data := await reader.read(_PIECE_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                await way.passed()
                if self._left_bytes is not None:
                    data, is_last = data[: self._left_bytes], len(data) >= self._left_bytes
                    self._left_bytes -= len(data)
                    writer.write(data)
                    if is_last:
                        self._left_bytes = None
                        await asyncio.sleep(0)  # What was written last still goes.
                        self.cut()
                        return
                else:
                    writer.write(data)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.close()
