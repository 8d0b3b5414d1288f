"""A TCP relay before a server, so that a test can cut one client off, or let its bytes get stuck, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Passes connections on to a port of 127.0.0.1. Made by `run_relay`."""

    def __init__(self, target_port: int, tasks: asyncio.TaskGroup) -> None:
        self.endpoint = ""
        self._target_port = target_port
        self._tasks = tasks
        self._open = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break all connections, and every new one at once."""
        self._open = False
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again, and what was stuck."""
        self._open = True
        self._flowing.set()

    def hang(self) -> None:
        """Keep connections, and pass nothing on: what a cut wire looks like."""
        self._flowing.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until either side ends it."""
        if not self._open:
            writer.transport.abort()
            return
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers |= {writer, far_writer}
            there = self._tasks.create_task(self._pump(reader, far_writer), name="relay:there")
            try:
                await self._pump(far_reader, writer)
            finally:
                there.cancel()
                self._writers -= {writer, far_writer}
                writer.transport.abort()
                far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def run_relay(target_port: int, host: str = "127.0.0.1") -> AsyncIterator[Relay]:
    """Relay a free port of `host` to `target_port` for as long as the block lasts."""
    async with asyncio.TaskGroup() as tasks:
        relay = Relay(target_port, tasks)

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.create_task(relay.serve(reader, writer), name="relay")

        server = await asyncio.start_server(connected, host, 0)
        relay.endpoint = f"{host}:{server.sockets[0].getsockname()[1]}"
        try:
            yield relay
        finally:
            server.close()
            relay.mend()
            relay.cut()
