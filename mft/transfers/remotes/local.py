"""A folder on storage that the nodes share, as a remote."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from mft.aio import Threads
from mft.errors import Denied, Exhausted, MftError, NotFound, Unavailable
from mft.model.locations import LocalLocationSpec
from mft.transfers.remotes.base import CHUNK_BYTES, Entry, join

_SCAN_BATCH = 512
"""Names read in one visit to the thread: enough to hide the hop, few enough to keep a huge folder's memory flat."""
_THREADS_MAX = 16
"""Calls at one time. On storage that stalls they wait, and with them the run, which its agent then ends."""


class LocalRemote:
    """Files under the location's root. Blocking calls go to threads: shared storage may stall."""

    source_atomic = True

    def __init__(self, spec: LocalLocationSpec) -> None:
        self._root = spec.root
        # A cancelled call is waited for: once a run is said to have ended nothing of it may still be done, nor be done
        # to a descriptor that meanwhile is another file's.
        self._threads = Threads(_THREADS_MAX, "local-remote")

    async def scan(self, folder: str) -> AsyncIterator[Entry]:
        """Yield the folder's entries, read in batches."""
        with _translated("list", folder):
            listing = await self._threads.run(os.scandir, self._real(folder))
        try:
            while True:
                with _translated("list", folder):
                    batch = await self._threads.run(partial(_batch, listing))
                for entry in batch:
                    yield entry
                if len(batch) < _SCAN_BATCH:
                    return
        finally:
            listing.close()

    async def lstat(self, path: str) -> Entry:
        """Say what stands under this name."""
        with _translated("look at", path):
            return _entry(Path(path).name, await self._threads.run(os.lstat, self._real(path)))

    async def rename(self, old: str, new: str) -> None:
        """Rename, replacing what stood there; atomic on one file system."""
        with _translated("rename", old):
            await self._threads.run(os.replace, self._real(old), self._real(new))

    async def remove(self, path: str) -> None:
        """Remove one file."""
        with _translated("remove", path):
            await self._threads.run(os.unlink, self._real(path))

    async def make_folder(self, path: str) -> None:
        """Make one folder unless it is there."""
        with _translated("make folder", path):
            try:
                await self._threads.run(os.mkdir, self._real(path))
            except FileExistsError:
                pass

    async def remove_folder(self, path: str) -> None:
        """Remove one folder if it is empty."""
        with _translated("remove folder", path):
            try:
                await self._threads.run(os.rmdir, self._real(path))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the file and give its content, piece by piece."""
        with _translated("open", path):
            descriptor = await self._threads.run(os.open, self._real(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield self._pieces(descriptor, path)
        finally:
            os.close(descriptor)

    async def write(self, path: str, content: AsyncIterator[bytes]) -> int:
        """Make a new file of this content and sync it: what the journal calls uploaded must survive a power cut."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with _translated("create", path):
            descriptor = await self._threads.run(os.open, self._real(path), flags, 0o666)
        size_bytes = 0
        try:
            async for piece in content:
                with _translated("write", path):
                    await self._threads.run(_write_whole, descriptor, piece)
                size_bytes += len(piece)
            with _translated("sync", path):
                await self._threads.run(os.fsync, descriptor)
        finally:
            os.close(descriptor)
        return size_bytes

    async def close(self) -> None:
        """Take no further call; nothing is kept open."""
        self._threads.close()

    async def _pieces(self, descriptor: int, path: str) -> AsyncIterator[bytes]:
        while True:
            with _translated("read", path):
                piece = await self._threads.run(os.read, descriptor, CHUNK_BYTES)
            if not piece:
                return
            yield piece

    def _real(self, path: str) -> str:
        return join(self._root, path)


def _batch(listing: Iterator[os.DirEntry[str]]) -> list[Entry]:
    """Read up to one batch of entries; a name that vanished since is left out."""
    batch: list[Entry] = []
    for entry in listing:
        try:
            batch.append(_entry(entry.name, entry.stat(follow_symlinks=False)))
        except FileNotFoundError:
            continue
        if len(batch) == _SCAN_BATCH:
            break
    return batch


def _entry(name: str, status: os.stat_result) -> Entry:
    mode = status.st_mode
    return Entry(name, status.st_size, status.st_mtime, stat.S_ISREG(mode), stat.S_ISDIR(mode), status.st_ino)


def _write_whole(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _translated(doing: str, path: str) -> Iterator[None]:
    """Turn an `OSError` into ours, saying what was being done to what."""
    try:
        yield
    except OSError as error:
        message = f"cannot {doing} {path}: {error.strerror}"
        raise _error_class(error.errno)(message) from error


def _error_class(number: int | None) -> type[MftError]:
    if number == errno.ENOENT:
        return NotFound
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE):
        return Exhausted
    if number in (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ENODEV, errno.ENOTCONN, errno.EHOSTDOWN):
        return Unavailable
    return MftError
