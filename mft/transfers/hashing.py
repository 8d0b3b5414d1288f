"""The SHA-256 of a content on its way, and of its beginnings, from which an attempt that is cut off can go on.

Of all that a worker does for a large file, hashing takes a processor the longest. So it is done on a thread, a mebibyte
at a time, while the loop sends what comes next; to change thread for each piece would cost more than that gains.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from mft.transfers.memory import Mark
from mft.transfers.remotes.base import PIECE_BYTES, Content
from mft.transfers.remotes.visits import Visit, Visits

_LARGE_BYTES = 8 * 1024 * 1024
"""Smaller content is hashed in the loop: what waits for the thread is kept in memory, and small files may be many."""
_TOGETHER_BYTES = 4 * PIECE_BYTES
"""Of large content, hashed in one visit to the thread."""
_MARKS_MAX, _MARK_BYTES = 64, _TOGETHER_BYTES
"""Places remembered, and how far they are apart: more than a remote has under way when it is cut off."""

_threads = Visits(os.cpu_count() or 1, "hashing")


class Hashing:
    """Hashes pieces in their order. It keeps some two mebibytes of large content until they are hashed."""

    def __init__(self, size_bytes: int, known: Sequence[Mark] = (), *, is_marked: bool = False) -> None:
        """Hash content of this size, of which the last of the `known` places has been reached already."""
        self.marks: deque[Mark] = deque(known, maxlen=_MARKS_MAX)
        """The newest places, in their order; with `is_marked` new ones are added."""
        self._is_marked = is_marked
        self._is_large = size_bytes >= _LARGE_BYTES
        self._sha256: Any = known[-1].sha256.copy() if known else hashlib.sha256()
        self._hashed_bytes = known[-1].offset_bytes if known else 0
        self._pieces: list[Content] = []
        self._pieces_bytes = 0
        self._under_way: Visit[int] | None = None

    async def add(self, piece: Content) -> None:
        """Take the next piece, which nobody changes any more; wait while the thread is behind."""
        self._pieces.append(piece)
        self._pieces_bytes += len(piece)
        if not self._is_large:
            self._note(_hash(self._sha256, self._take()))
        elif self._pieces_bytes >= _TOGETHER_BYTES:
            await self._settle()
            self._under_way = _threads.begin(_hash, self._sha256, self._take())

    async def end(self) -> str:
        """Return the digest of all that was given, in hexadecimal digits."""
        await self._settle()
        self._note(_hash(self._sha256, self._take()))
        return str(self._sha256.hexdigest())

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
        last = self.marks[-1].offset_bytes if self.marks else 0
        if self._is_marked and self._hashed_bytes - last >= _MARK_BYTES:
            self.marks.append(Mark(self._hashed_bytes, self._sha256.copy()))


def _hash(sha256: Any, pieces: Sequence[Content]) -> int:
    """Hash these pieces; returns how many bytes they are. May run on a thread."""
    for piece in pieces:
        sha256.update(piece)
    return sum(map(len, pieces))
