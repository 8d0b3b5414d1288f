"""A TCP connection that sends what was written within one turn of the loop as one piece, and gives on little at a time.

The SSH library writes each packet by itself and puts an empty one before it, and each would be a system call and a TCP
segment of its own. For small files, that is most of their cost. And for each packet that it takes out of what came, it
copies all the rest: of large files, that is most of theirs.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

_GIVEN_BYTES_MAX = 33 * 1024
"""About one of the packets that most servers send."""


class GatheringTransport(asyncio.Transport):
    """Stands before a real transport; only writing is different."""

    def __init__(self, real: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._real = real
        self._loop = loop
        self._pieces: list[bytes | bytearray | memoryview[Any]] = []

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Keep the data until this turn of the loop ends."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces and not self._real.is_closing():
            self._real.write(b"".join(pieces))

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._real.close()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._pieces.clear()
        self._real.abort()

    def is_closing(self) -> bool:
        """Say whether the connection is closed or about to be."""
        return self._real.is_closing()

    def pause_reading(self) -> None:
        """Receive nothing until told to go on."""
        self._real.pause_reading()

    def resume_reading(self) -> None:
        """Go on receiving."""
        self._real.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell about the real transport."""
        return self._real.get_extra_info(name, default)


class Gathering(asyncio.Protocol):
    """Stands between a real transport and a protocol, which it gives a `GatheringTransport`."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self.receive = self.give
        """Takes what came; by default it gives it on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        real = cast(asyncio.Transport, transport)  # uvloop's is one without saying so.
        self.protocol.connection_made(GatheringTransport(real, asyncio.get_running_loop()))

    def data_received(self, data: bytes) -> None:
        """Pass on what came."""
        self.receive(data)

    def give(self, data: bytes) -> None:
        """Give it to the protocol, little at a time."""
        if len(data) <= _GIVEN_BYTES_MAX:
            self.protocol.data_received(data)
            return
        for start in range(0, len(data), _GIVEN_BYTES_MAX):
            self.protocol.data_received(data[start : start + _GIVEN_BYTES_MAX])

    def eof_received(self) -> bool | None:
        """Pass on that nothing more will come."""
        return self.protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Pass on that it is over."""
        self.protocol.connection_lost(error)

    def pause_writing(self) -> None:
        """Pass on that the network is slower than the sender."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that there is room again."""
        self.protocol.resume_writing()
