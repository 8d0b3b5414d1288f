"""What this node has written to the journal, kept in local files: after a restore of etcd nothing is sent again.

recall.py says what follows from them.

A file is named by the day and the moment at which it was begun, and begins with `MAGIC`. Then come entries:

    length of the payload, four bytes      both little-endian
    its CRC-32, four bytes
    the payload: a `Committed` as msgpack

Each process begins files of its own and appends to no other's, so that an entry which a crash or a power failure cut
off is always a file's last, and readers may stop there. One thread writes, beside the loop; no delivery waits for it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import structlog
from msgspec import MsgspecError, Struct, msgpack

from mft.aio import Threads
from mft.model.delivery import Kept, Record, Term

MAGIC = b"mft records 1\n"
KEPT_DAYS = 30
QUEUE_MAX = 50_000
"""Entries that wait for a disk which is full or hangs: some ten MiB, minutes of the quickest deliveries."""
_HEAD = struct.Struct("<II")
_PAYLOAD_BYTES_MAX = 1 << 20
"""More is no entry: a record has a path and a few names."""
_SYNC_S = 1.0
"""How often what was written is brought to the disk: a killed process loses none of it, a power failure this much."""
_RETRY_S = 5.0
_END_S = 3.0
_WRITE_MAX = 1000


class Committed(Struct, frozen=True, kw_only=True, omit_defaults=True, array_like=True):
    """One write that etcd has agreed to."""

    at: float
    """When this node knew of it, in seconds since 1970."""
    term: Term
    revision: int
    """Of etcd, in which it was written, or at the latest: of two entries for one delivery the greater is newer."""
    transfer: str
    delivery: str = ""
    """Empty: the ledger alone was written."""
    record: Record | None = None
    """What the journal says since then; none: it was forgotten."""
    path: str = ""
    """A kept source of which the ledger says something else since then; empty: of none."""
    kept: Kept | None = None
    """What it says: the source as it was when it was delivered; none: nothing more."""


Note = Callable[[Committed], None]
"""Takes a committed write; never waits, never fails."""


class RecordFile:
    """The files of this process. `note` is called from the loop; `run` writes beside it."""

    def __init__(self, folder: Path, told: Callable[[str, int], None], clock: Callable[[], float] = time.time) -> None:
        """`told` learns why it cannot write, or by an empty reason that it works again; and how many were lost."""
        self._folder = folder
        self._told = told
        self._clock = clock
        self._encode = msgpack.Encoder().encode
        self._queue: deque[Committed] = deque()
        self._filled = asyncio.Event()
        self._lost = 0
        self._trouble = ""
        self._file: BinaryIO | None = None
        self._day = ""
        self._log = structlog.get_logger()

    def note(self, committed: Committed) -> None:
        """Have this written. Where too much waits already it is left out, and counted."""
        if len(self._queue) >= QUEUE_MAX:
            self._lost += 1
            if not self._trouble:  # The disk does not fail, it hangs.
                self._tell("entries wait for the disk in vain")
            return
        self._queue.append(committed)
        self._filled.set()

    def waiting(self) -> Sequence[Committed]:
        """Give the entries that are in no file yet, the oldest first; perhaps some that have just come into one."""
        return tuple(self._queue.copy())

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder

    async def run(self) -> None:
        """Write until cancelled; then write what is left, unless the disk hangs."""
        threads = Threads(1, "records")
        try:
            await self._work(threads)
        finally:
            try:
                async with asyncio.timeout(_END_S):
                    await threads.run(self._end)
            except (TimeoutError, OSError) as error:
                self._log.warning("records: the end was not written", reason=str(error), entries=len(self._queue))
            threads.close()

    async def _work(self, threads: Threads) -> None:
        is_dirty = False
        while True:
            try:
                async with asyncio.timeout(_SYNC_S if is_dirty else None):
                    await self._filled.wait()
            except TimeoutError:
                is_dirty = not await self._tried(threads, self._sync)
                continue
            self._filled.clear()
            while self._queue:
                if await self._tried(threads, self._write_some):
                    is_dirty = True
                else:
                    await asyncio.sleep(_RETRY_S)

    async def _tried(self, threads: Threads, call: Callable[[], None]) -> bool:
        """Do this beside the loop; say whether it worked, and tell it where that has changed."""
        try:
            await threads.run(call)
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            reason = ""
        if reason != self._trouble:
            self._tell(reason)
        return not reason

    def _tell(self, reason: str) -> None:
        self._trouble = reason
        lost, self._lost = self._lost, 0
        self._told(reason, lost)

    # ---- in the thread

    def _write_some(self) -> None:
        """Write the oldest entries. They leave the queue only once they are in the file."""
        entries = [self._queue[index] for index in range(min(len(self._queue), _WRITE_MAX))]
        self._append(b"".join(_framed(self._encode(entry)) for entry in entries))
        for _ in entries:
            self._queue.popleft()

    def _append(self, data: bytes) -> None:
        """Append to today's file; what was written in part is taken back, or the next goes to another file."""
        file = self._todays()
        size_bytes = file.tell()
        left = memoryview(data)
        try:
            while left:  # A disk that gets full takes a part first.
                left = left[file.write(left) :]
        except OSError:
            try:
                file.truncate(size_bytes)
                file.seek(size_bytes)
            except OSError:
                self._close()
            raise

    def _todays(self) -> BinaryIO:
        """Give the file of the day, a new one where there is none yet."""
        now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        day = f"{now:%Y-%m-%d}"
        if self._file is None or day != self._day:
            self._close()
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._prune(now)
            path = self._folder / f"{day}.{now:%H%M%S%f}-{os.getpid()}.records"
            file = path.open("xb", buffering=0)
            try:
                file.write(MAGIC)
            except OSError:
                file.close()
                path.unlink(missing_ok=True)
                raise
            self._file, self._day = file, day
        return self._file

    def _prune(self, now: dt.datetime) -> None:
        """Remove the files of days that need not be kept any more."""
        oldest = f"{now - dt.timedelta(days=KEPT_DAYS):%Y-%m-%d}"
        for path in self._folder.glob("*.records"):
            if path.name < oldest:
                path.unlink(missing_ok=True)

    def _sync(self) -> None:
        if self._file is not None:
            os.fdatasync(self._file.fileno())

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _end(self) -> None:
        """Write what is left, and close."""
        try:
            while self._queue:
                self._write_some()
            self._sync()
        finally:
            self._close()


def read_records(folder: Path, since: float = 0.0) -> Iterator[Committed]:
    """Yield what was committed at `since` (seconds since 1970) or later, file by file in the order of their beginnings.

    Entries of several nodes, or of one whose clock was put back, are put in order by `revision`. Blocks.

    Raises:
        OSError: a file cannot be read.
    """
    first = f"{dt.datetime.fromtimestamp(since, dt.UTC):%Y-%m-%d}"
    for path in sorted(folder.glob("*.records")):
        # A file goes on until the first entry after midnight: it has none of the days after its own.
        if path.name[:10] >= first:
            yield from (entry for entry in _entries(path) if entry.at >= since)


def _entries(path: Path) -> Iterator[Committed]:
    decode = msgpack.Decoder(Committed).decode
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # Removed since it was listed, because its days are over.
    with file:
        if file.read(len(MAGIC)) != MAGIC:
            _tell_end(path, 0)
            return
        while head := file.read(_HEAD.size):
            begin = file.tell() - len(head)
            payload = b""
            if len(head) == _HEAD.size and 0 < (size := _HEAD.unpack(head)[0]) <= _PAYLOAD_BYTES_MAX:
                payload = file.read(size)
            if not payload or len(payload) < size or zlib.crc32(payload) != _HEAD.unpack(head)[1]:
                _tell_end(path, begin)
                return
            try:
                yield decode(payload)
            except MsgspecError:
                # Whole, and not for us: a later version's. What follows may be known again.
                structlog.get_logger().warning("records: an entry cannot be understood", file=path.name, at=begin)


def _tell_end(path: Path, at_bytes: int) -> None:
    """Say that a file ends in the middle of an entry: after a crash that is normal, else the disk is at fault."""
    left = path.stat().st_size - at_bytes
    structlog.get_logger().warning("records: the file ends in a torn entry", file=path.name, at=at_bytes, left=left)


def _framed(payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
