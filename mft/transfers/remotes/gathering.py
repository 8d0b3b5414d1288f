"""A TCP connection that sends what was written within one turn of the loop as one piece, and gives on little at a time.

The SSH library writes each packet by itself and puts an empty one before it, and each would be a system call and a TCP
segment of its own. For small files, that is most of their cost. And for each packet that it takes out of what came, it
copies all the rest: of large files, that is most of theirs.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

RECEIVED_BYTES_MAX = 512 * 1024
"""Of what came and is not taken yet: more than the largest packet that is allowed."""
_GIVEN_BYTES_MAX = 33 * 1024
"""About one of the packets that most servers send."""
JOINED_BYTES_MAX = 64 * 1024
"""More than this is not copied to make one piece of it, and does not wait for more."""


class GatheringTransport(asyncio.Transport):
    """Stands before a real transport; only writing is different."""

    def __init__(self, real: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._real = real
        self._loop = loop
        self._pieces: list[bytes | bytearray | memoryview[Any]] = []
        self._is_due = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Keep the data until this turn of the loop ends; send much at once."""
        self._pieces.append(data)
        if len(data) > JOINED_BYTES_MAX:
            self._send()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_due = False
        self._send()

    def _send(self) -> None:
        pieces, self._pieces = self._pieces, []
        if not pieces or self._real.is_closing():
            return
        if len(pieces) == 1:
            self._real.write(pieces[0])
        elif len(pieces[-1]) > JOINED_BYTES_MAX:
            self._real.writelines(pieces)
        else:
            self._real.write(b"".join(pieces))

    def get_write_buffer_size(self) -> int:
        """Say how many bytes wait until this turn ends, or for the system."""
        return sum(map(len, self._pieces)) + self._real.get_write_buffer_size()

    def close(self) -> None:
        """Send what was written, then close."""
        self._send()
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


class Gathering(asyncio.BufferedProtocol):
    """Stands between a real transport and a protocol, which it gives a `GatheringTransport`."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self.receive = self._give_all
        """Takes what came and says how many bytes of it are done with; by default it gives all on."""
        self._buffer = memoryview(bytearray(RECEIVED_BYTES_MAX))
        self._end = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        real = cast(asyncio.Transport, transport)  # uvloop's is one without saying so.
        self.protocol.connection_made(GatheringTransport(real, asyncio.get_running_loop()))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to put what comes."""
        return self._buffer[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what came, with what was left of what came before."""
        end = self._end + nbytes
        taken = self.receive(self._buffer[:end])
        self._end = end - taken
        if taken and self._end:
            self._buffer[: self._end] = self._buffer[taken:end]

    def give(self, data: bytes) -> None:
        """Give it to the protocol, little at a time."""
        for start in range(0, len(data), _GIVEN_BYTES_MAX):
            self.protocol.data_received(data[start : start + _GIVEN_BYTES_MAX])

    def _give_all(self, view: memoryview) -> int:
        self.give(bytes(view))
        return len(view)

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
