"""Content to and from one open SFTP handle, with as many requests under way as fill the road.

It speaks to asyncssh's request layer instead of its file object: that layer sends a request in the moment in which its
task begins, so requests go out in the order of their tasks, and none waits for a task of its own inside.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncssh

from mft.transfers.remotes.base import CHUNK_BYTES

_UNDER_WAY_BYTES_MAX = 4 * CHUNK_BYTES
"""Bytes under way for one file: 30 MiB/s at 130 ms."""
_BLOCK_BYTES_MAX = 255 * 1024
_REQUESTS_MAX = 128

Call = Callable[[], Awaitable[object]]


class Handle:
    """One open handle at the server."""

    def __init__(self, sftp: asyncssh.SFTPClient, file: asyncssh.SFTPClientFile, *, in_order: bool) -> None:
        # Not public, hence the pin on the library's minor version.
        self._requests: Any = file._handler
        self._handle = file.handle
        self.is_open = True
        self.in_order = in_order
        self.write_bytes_max = min(sftp.limits.max_write_len, _BLOCK_BYTES_MAX)
        self.read_bytes_max = min(sftp.limits.max_read_len, _BLOCK_BYTES_MAX)

    async def write(self, offset: int, block: bytes) -> None:
        """Write one block."""
        await self._requests.write(self._handle, offset, block)

    async def sync(self) -> None:
        """Put what was written on stable storage; a server that cannot is not asked to."""
        try:
            await self._requests.fsync(self._handle)
        except asyncssh.SFTPOpUnsupported:
            pass

    async def close(self) -> None:
        """Give the handle back."""
        self.is_open = False
        await self._requests.close(self._handle)

    async def read(self, offset: int, size_bytes: int) -> bytes:
        """Read one block whole; less only at the end of the file."""
        block = b""
        while len(block) < size_bytes:
            try:
                data, _ = await self._requests.read(self._handle, offset + len(block), size_bytes - len(block))
            except asyncssh.SFTPEOFError:
                break
            block += data
            # Where a server reads a file by single calls in order, less than asked is its end.
            if not data or self.in_order:
                break
        return block


class Window:
    """Requests of one file that are under way. The road is lost if none is answered for `limit_s`."""

    def __init__(self, tasks: asyncio.TaskGroup, limit_s: float, block_bytes: int) -> None:
        self._tasks = tasks
        self._limit_s = limit_s
        self._most = max(2, min(_REQUESTS_MAX, _UNDER_WAY_BYTES_MAX // block_bytes))
        self._under_way = 0
        self._answer = asyncio.Event()
        self._requests: set[asyncio.Task[None]] = set()
        self.failed: list[Exception] = []

    def send(self, call: Call, name: str) -> None:
        """Begin a request."""
        self._under_way += 1
        request = self._tasks.create_task(self._answered(call), name=name)
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)

    def cancel(self) -> None:
        """Wait for no answer any more."""
        for request in self._requests:
            request.cancel()

    async def room(self) -> None:
        """Wait until one more may begin."""
        await self._until(self._most - 1)

    async def empty(self) -> None:
        """Wait until all are answered."""
        await self._until(0)

    async def _answered(self, call: Call) -> None:
        try:
            await call()
        except (asyncssh.Error, OSError) as error:
            self.failed.append(error)
        finally:
            self._under_way -= 1
            self._answer.set()

    async def _until(self, most: int) -> None:
        while self._under_way > most:
            self._answer.clear()
            async with asyncio.timeout(self._limit_s):
                await self._answer.wait()


async def send_content(handle: Handle, content: AsyncIterator[bytes], limit_s: float, offset: int = 0) -> int:
    """Write the content from `offset` on, sync and close. Return its size. What it raises comes through as it is.

    A server that works in order gets sync and close together with the last blocks: for a small file that is one round
    trip instead of three. Elsewhere a sync could overtake a write, and then would promise nothing.
    """
    size_bytes = 0
    error: BaseException | None = None
    async with asyncio.TaskGroup() as tasks:
        window = Window(tasks, limit_s, handle.write_bytes_max)
        try:
            async for piece in content:
                for start in range(0, len(piece), handle.write_bytes_max):
                    await window.room()
                    block = piece[start : start + handle.write_bytes_max]
                    window.send(partial(handle.write, offset + size_bytes + start, block), "write")
                size_bytes += len(piece)
                if window.failed:
                    break
            for call, name in ((handle.sync, "sync"), (handle.close, "close")):
                if not handle.in_order:
                    await window.empty()
                if not window.failed:
                    window.send(call, name)
            await window.empty()
        except BaseException as failure:
            # Kept, because the group would put it into a group of its own.
            error = failure
            window.cancel()
    if error is not None:
        raise error
    if window.failed:
        raise window.failed[0]
    return size_bytes


@asynccontextmanager
async def receive_content(handle: Handle, limit_s: float, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
    """Give the content from `offset` on, piece by piece, reading ahead while a piece is worked on."""
    error: BaseException | None = None
    async with asyncio.TaskGroup() as tasks:
        ahead = _Ahead(handle, tasks, limit_s, offset)
        try:
            yield ahead.pieces()
        except BaseException as failure:
            # Kept, because the group would put it into a group of its own.
            error = failure
        ahead.cancel()
    if error is not None:
        raise error


class _Ahead:
    """Blocks asked for and not yet given on, in the order of the file. Few at first: most files are small."""

    def __init__(self, handle: Handle, tasks: asyncio.TaskGroup, limit_s: float, offset: int) -> None:
        self._handle = handle
        self._tasks = tasks
        self._limit_s = limit_s
        self._asked_bytes = offset
        self._blocks: deque[asyncio.Task[bytes | Exception]] = deque()
        self._most = 2

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield all that comes before the end of the file."""
        while True:
            self._ask()
            await asyncio.wait([self._blocks[0]], timeout=self._limit_s)
            if not self._blocks[0].done():
                raise TimeoutError
            piece, is_last = self._take()
            if piece:
                yield piece
            if is_last:
                return

    def cancel(self) -> None:
        """Wait for no block any more."""
        for block in self._blocks:
            block.cancel()

    def _ask(self) -> None:
        while len(self._blocks) < self._most:
            call = self._read(self._asked_bytes)
            self._blocks.append(self._tasks.create_task(call, name="read"))
            self._asked_bytes += self._handle.read_bytes_max
        most = max(2, min(_REQUESTS_MAX, _UNDER_WAY_BYTES_MAX // self._handle.read_bytes_max))
        self._most = min(2 * self._most, most)

    async def _read(self, offset: int) -> bytes | Exception:
        try:
            return await self._handle.read(offset, self._handle.read_bytes_max)
        except (asyncssh.Error, OSError) as error:
            return error

    def _take(self) -> tuple[bytes, bool]:
        """Take the blocks that are there, up to a piece. Says whether the file ends with them."""
        taken: list[bytes] = []
        while self._blocks and self._blocks[0].done() and len(taken) * self._handle.read_bytes_max < CHUNK_BYTES:
            block = self._blocks.popleft().result()
            if isinstance(block, Exception):
                raise block
            taken.append(block)
            if len(block) < self._handle.read_bytes_max:
                return b"".join(taken), True
        return b"".join(taken), False
