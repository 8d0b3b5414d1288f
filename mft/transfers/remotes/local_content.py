"""A local file's content on threads: read ahead of whoever takes it, written behind whoever gives it.

The loop passes each piece on. As few changes of thread as can be lie between: each wakes another thread and has the
interpreter wait for it, which of a large file cost as much as its content.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from mft.transfers.remotes.base import PIECE_BYTES, Content
from mft.transfers.remotes.visits import Visit, Visits

VISIT_BYTES = 4 * PIECE_BYTES
"""Of content that one call reads or writes."""
_READS_MAX = 2
"""Calls under way for a file that is read: storage that takes long to answer is asked for the next while it does."""
_WAITING_BYTES_MAX = 3 * VISIT_BYTES
"""Waiting to be written: who gives more is held up."""
_WAITING_BYTES_MIN = VISIT_BYTES
"""Who is held up goes on when no more than this is left."""
_PIECES_MAX = 1024
"""In one call. Source: limits.h of Linux, IOV_MAX."""


class Reading:
    """One file that is being read, ahead of whoever takes its content. It closes the descriptor."""

    def __init__(self, threads: Visits, descriptor: int, offset: int) -> None:
        """Read from `offset` (bytes) on."""
        self._threads = threads
        self._descriptor = descriptor
        self._offset = offset
        self._reads: deque[Visit[bytes]] = deque()

    def go_on(self) -> None:
        """Have as much read ahead as there may be."""
        while len(self._reads) < _READS_MAX:
            self._reads.append(self._threads.begin(read_whole, self._descriptor, self._offset))
            self._offset += VISIT_BYTES

    async def take(self) -> bytes:
        """Give what comes next: `VISIT_BYTES`, or less at the end of the file."""
        self.go_on()
        content = await self._reads[0]
        self._reads.popleft()
        return content

    async def close(self) -> None:
        """Close the descriptor when no thread uses it any more, and wait for that; cancelled or not, it is closed."""
        await _close(self._descriptor, self._reads)


class Writing:
    """One file that is being written, behind whoever gives its content: by one thread at a time, in order.

    It closes the descriptor.
    """

    def __init__(self, threads: Visits, descriptor: int, offset: int) -> None:
        """Write from `offset` (bytes) on."""
        self._threads = threads
        self._descriptor = descriptor
        self._offset = offset
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[Content] = deque()
        # One is the loop's alone, the other the thread's, so neither needs a lock.
        self._added_bytes = self._written_bytes = 0
        self._visit: Visit[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._is_closing = False

    async def add(self, piece: Content) -> None:
        """Take a piece; wait while too much is waiting. Raises the `OSError` of any that was taken."""
        self._pieces.append(piece)
        self._added_bytes += len(piece)
        if self._waiting_bytes >= VISIT_BYTES:
            self._begin()
        if self._waiting_bytes > _WAITING_BYTES_MAX:
            await self._fewer()

    async def end(self) -> None:
        """Wait until all is written. Raises the `OSError` of any piece."""
        while self._pieces or self._visit is not None:
            self._begin()
            if self._visit is not None:
                await self._visit
                self._visit = None

    async def close(self) -> None:
        """Close the descriptor when no thread uses it any more, and wait for that; cancelled or not, it is closed.

        What is not written then is dropped.
        """
        self._is_closing = True
        await _close(self._descriptor, [self._visit] if self._visit is not None else [])

    @property
    def _waiting_bytes(self) -> int:
        return self._added_bytes - self._written_bytes

    async def _fewer(self) -> None:
        """Wait until little waits."""
        while self._waiting_bytes > _WAITING_BYTES_MIN:
            self._begin()
            assert self._visit is not None
            room = self._room = self._loop.create_future()
            if self._waiting_bytes > _WAITING_BYTES_MIN:  # Looked at again: the thread may not have seen `_room`.
                await asyncio.wait((self._visit, room), return_when=asyncio.FIRST_COMPLETED)
            self._room = None

    def _begin(self) -> None:
        """Have a thread write what waits, unless one does."""
        if self._visit is not None and self._visit.done():
            self._visit.result()
            self._visit = None
        if self._visit is None and self._pieces:
            self._visit = self._threads.begin(self._write)

    def _write(self) -> None:
        """Write until nothing waits, or somebody else waits for the thread. On a thread."""
        while self._pieces and not self._is_closing:
            pieces, size_bytes = list[Content](), 0
            while self._pieces and size_bytes < VISIT_BYTES:
                pieces.append(self._pieces.popleft())
                size_bytes += len(pieces[-1])
            write_whole(self._descriptor, pieces, self._offset + self._written_bytes)
            self._written_bytes += size_bytes
            if (room := self._room) is not None and self._waiting_bytes <= _WAITING_BYTES_MIN:
                self._loop.call_soon_threadsafe(_wake, room)
            if self._threads.is_crowded:
                return


def split(content: bytes) -> Iterator[Content]:
    """Give content piece by piece."""
    view = memoryview(content)
    for start in range(0, len(content), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]


def read_whole(descriptor: int, offset: int) -> bytes:
    """Read `VISIT_BYTES`; less only at the end of the file."""
    content = os.pread(descriptor, VISIT_BYTES, offset)
    while content and len(content) < VISIT_BYTES:
        more = os.pread(descriptor, VISIT_BYTES - len(content), offset + len(content))
        if not more:
            break
        content += more
    return content


def write_whole(descriptor: int, pieces: Sequence[Content], offset: int) -> None:
    """Write these pieces at this place."""
    left = deque(memoryview(piece) for piece in pieces if piece)
    while left:
        written = os.pwritev(descriptor, [*islice(left, _PIECES_MAX)], offset)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left.popleft())
        if written:
            left[0] = left[0][written:]


def _wake(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)


async def _close(descriptor: int, visits: Sequence[Visit[Any]]) -> None:
    for visit in visits:
        visit.drop()
    running = {visit for visit in visits if not visit.done()}
    if not running:
        os.close(descriptor)
        _look_at(visits)
        return

    def ended(visit: Visit[Any]) -> None:
        running.discard(visit)
        if not running:
            os.close(descriptor)
            _look_at(visits)

    for visit in running:
        visit.add_done_callback(ended)
    await asyncio.wait(running)


def _look_at(visits: Sequence[Visit[Any]]) -> None:
    """Look at outcomes that nobody may have waited for."""
    for visit in visits:
        if not visit.cancelled():
            visit.exception()
