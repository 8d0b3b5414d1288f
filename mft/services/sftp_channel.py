"""One SFTP channel: takes requests in order, answers in the same, and never lets either side run far ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import asyncssh

from mft.errors import Invalid
from mft.services.session import Session
from mft.services.sftp_requests import Requests
from mft.services.sftp_wire import Inflow

QUEUED_BYTES_MAX = 2 * 1024 * 1024
"""Requests waiting in memory for each channel, above which the client's window stays closed: as much as OpenSSH's
sftp keeps in flight."""


class SftpChannel(asyncssh.SSHServerSession[bytes]):
    """The SSH side calls in; `run` works. No shell and no commands: only the subsystem `sftp` is accepted."""

    def __init__(
        self,
        session: Session,
        started: Callable[[SftpChannel], None],
        active: Callable[[], None],
        closed: Callable[[], None],
    ) -> None:
        """Call `started` once the client has asked for SFTP, `active` at each request, `closed` at the end."""
        self._requests = Requests(session)
        self._started = started
        self._active = active
        self._closed = closed
        self._inflow = Inflow()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._ended = False
        self._is_paused = False
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None

    # ---- called by asyncssh

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Keep the channel."""
        self._channel = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        """Accept SFTP and nothing else."""
        return subsystem == "sftp"

    def session_started(self) -> None:
        """Begin to work."""
        self._started(self)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Queue what has come in."""
        try:
            packets = self._inflow.feed(data)
        except Invalid:
            self._end()
            return
        self._queue.extend(packets)
        self._queued_bytes += sum(map(len, packets))
        if self._queued_bytes > QUEUED_BYTES_MAX and not self._is_paused and self._channel is not None:
            self._is_paused = True
            self._channel.pause_reading()
        self._wake.set()

    def eof_received(self) -> bool:
        """Answer what is queued, then end."""
        self._end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End, whatever is still queued."""
        self._channel = None
        self._closed()
        self._queue.clear()
        self._end()
        self._writable.set()

    def pause_writing(self) -> None:
        """Stop answering: the client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on answering."""
        self._writable.set()

    # ---- ours

    def _end(self) -> None:
        self._ended = True
        self._wake.set()

    async def run(self) -> None:
        """Answer requests until the client ends. Clients such as OpenSSH's scp need an exit status to be content."""
        status = 1
        try:
            while (data := await self._next()) is not None:
                self._active()
                answer = await self._requests.handle(data)
                if self._channel is None:
                    break
                self._channel.write(answer)
                await self._writable.wait()
            status = 0
        except Invalid:
            pass  # Not SFTP: nothing that could be answered.
        finally:
            await self._requests.close()
            if self._channel is not None:
                self._channel.exit(status)

    async def _next(self) -> bytes | None:
        while not self._queue:
            if self._ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        data = self._queue.popleft()
        self._queued_bytes -= len(data)
        if self._is_paused and self._queued_bytes < QUEUED_BYTES_MAX // 2 and self._channel is not None:
            self._is_paused = False
            self._channel.resume_reading()
        return data
