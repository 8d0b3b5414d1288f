"""The SHA-256 of a content on its way, and of its beginnings, from which an attempt that is cut off can go on.

Of all that a worker does for a large file, hashing takes a processor the longest. So a thread does it, a mebibyte at a
time, while the loop sends what comes next; to change thread for each piece would cost more than that gains.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from mft.transfers.memory import Mark
from mft.transfers.remotes.base import PIECE_BYTES, Content
from mft.transfers.remotes.visits import Visit, Visits

_LARGE_BYTES = 8 * 1024 * 1024
"""Smaller content is hashed in the loop: it is sent before a thread would have gained much."""
_TOGETHER_BYTES, _TOGETHER_PIECES = 4 * PIECE_BYTES, 64
"""Of large content, hashed in one visit to the thread. A piece may be small, and a part of something larger."""
_MARKS_MAX, _MARK_BYTES = 64, _TOGETHER_BYTES
"""Places remembered, and how far they are apart: more than a remote has under way when it is cut off."""


class Hashing:
    """Hashes pieces in their order. It keeps at most two mebibytes and a piece of large content."""

    def __init__(
        self, threads: Visits | None, size_bytes: int, known: Sequence[Mark] = (), *, is_marked: bool = False
    ) -> None:
        """Hash content of this size, of which the last of the `known` places has been reached already.

        Without `threads` all is hashed in the loop; with `is_marked` new places are added.
        """
        self._threads = threads if size_bytes >= _LARGE_BYTES else None
        self._marks: deque[Mark] = deque(known, maxlen=_MARKS_MAX)
        self._is_marked = is_marked
        self._sha256: Any = known[-1].sha256.copy() if known else hashlib.sha256()
        self._hashed_bytes = known[-1].offset_bytes if known else 0
        self._pieces: list[Content] = []
        self._pieces_bytes = 0
        self._under_way: Visit[int] | None = None

    async def add(self, piece: Content) -> None:
        """Take the next piece; wait while the thread is behind. Cancelled, it waits all the same, and loses nothing."""
        self._pieces.append(piece)
        self._pieces_bytes += len(piece)
        if self._threads is None:
            self._note(_hash(self._sha256, self._take()))
        elif self._pieces_bytes >= _TOGETHER_BYTES or len(self._pieces) >= _TOGETHER_PIECES:
            await self._settle()
            if self._threads.is_crowded:  # Other files keep the processors busy: to wait would gain nothing.
                self._note(_hash(self._sha256, self._take()))
            else:
                pieces = self._take()
                self._under_way = self._threads.begin(_hash, self._sha256, pieces)
                if self._under_way.done() and self._under_way.exception():  # No thread can start: nothing was hashed.
                    self._under_way = None
                    self._note(_hash(self._sha256, pieces))

    async def end(self) -> str:
        """Return the digest of all that was given, in hexadecimal digits. Cancellation as with `add`."""
        await self._settle()
        self._note(_hash(self._sha256, self._take()))
        return str(self._sha256.hexdigest())

    def marks(self) -> tuple[Mark, ...]:
        """Give the newest places up to which the content is known, in their order."""
        visit = self._under_way
        if visit is not None and visit.done() and not visit.cancelled() and visit.exception() is None:
            self._under_way = None
            self._note(visit.result())
        return tuple(self._marks)

    async def _settle(self) -> None:
        """Wait for the thread: one visit at a time keeps the order."""
        if self._under_way is not None:
            hashed_bytes, self._under_way = await self._under_way, None
            self._note(hashed_bytes)

    def _take(self) -> list[Content]:
        pieces, self._pieces, self._pieces_bytes = self._pieces, [], 0
        return pieces

    def _note(self, size_bytes: int) -> None:
        """Note that so much more is hashed."""
        self._hashed_bytes += size_bytes
        last = self._marks[-1].offset_bytes if self._marks else 0
        if self._is_marked and self._hashed_bytes - last >= _MARK_BYTES:
            self._marks.append(Mark(self._hashed_bytes, self._sha256.copy()))


def _hash(sha256: Any, pieces: Sequence[Content]) -> int:
    """Hash these pieces; returns how many bytes they are. May run on a thread."""
    for piece in pieces:
        sha256.update(piece)
    return sum(map(len, pieces))
