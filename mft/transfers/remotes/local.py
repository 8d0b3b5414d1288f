"""A folder on storage that the nodes share, as a remote."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mft.errors import Denied, Exhausted, MftError, NotFound, Unavailable
from mft.model.locations import LocalLocationSpec
from mft.transfers.remotes import local_bundles
from mft.transfers.remotes.base import Content, Entry, join, shown
from mft.transfers.remotes.bundles import Move, Took
from mft.transfers.remotes.local_bundles import OUTAGES, entry_of
from mft.transfers.remotes.local_content import VISIT_BYTES, Reading, Writing, read_whole, split
from mft.transfers.remotes.visits import Visits

T = TypeVar("T")
P = ParamSpec("P")

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
        self._threads = Visits(_THREADS_MAX, "local-remote")
        self._is_closed = False

    async def scan(self, folder: str) -> AsyncIterator[Entry]:
        """Yield the folder's entries, read in batches."""
        with _translated("list", folder):
            listings: list[Any] = []
            try:
                await self._run(lambda: listings.append(os.scandir(self._real(folder))))
            except BaseException:
                for listing in listings:
                    listing.close()
                raise
            listing = listings[0]
        try:
            while True:
                with _translated("list", folder):
                    batch = await self._run_alone(_batch, listing)
                for entry in batch:
                    yield entry
                if len(batch) < _SCAN_BATCH:
                    return
        finally:
            listing.close()

    async def lstat(self, path: str) -> Entry:
        """Say what stands under this name."""
        with _translated("look at", path):
            return entry_of(path.rpartition("/")[2], await self._run(os.lstat, self._real(path)))

    async def rename(self, old: str, new: str) -> None:
        """Rename, replacing what stood there; atomic on one file system."""
        with _translated("rename", old):
            await self._run(os.replace, self._real(old), self._real(new))

    async def remove(self, path: str) -> None:
        """Remove one file."""
        with _translated("remove", path):
            await self._run(os.unlink, self._real(path))

    async def sha256(self, path: str) -> str:
        """Hash a file where it is."""
        with _translated("hash", path):
            return await self._run_alone(_sha256, self._real(path))

    async def make_folder(self, path: str) -> None:
        """Make one folder unless it is there."""
        with _translated("make folder", path):
            try:
                await self._run(os.mkdir, self._real(path))
            except FileExistsError:
                if not await self._run(os.path.isdir, self._real(path)):
                    raise

    async def remove_folder(self, path: str) -> None:
        """Remove one folder if it is empty."""
        with _translated("remove folder", path):
            try:
                await self._run(os.rmdir, self._real(path))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise

    @asynccontextmanager
    async def read(self, path: str, offset: int = 0) -> AsyncIterator[AsyncIterator[Content]]:
        """Open the file and give its content, piece by piece. Only a file: a pipe could wait for ever."""
        descriptor, first = await self._acquire("open", path, partial(_open_to_read, offset=offset))
        reading = Reading(self._threads, descriptor, offset + len(first))
        try:
            yield self._pieces(reading, first, path)
        finally:
            await reading.close()

    async def write(self, path: str, content: AsyncIterator[Content], offset: int = 0) -> int:
        """Make a file of this content and sync it: what the journal calls uploaded must survive a power cut."""
        opener = partial(_open_to_go_on, offset=offset) if offset else _create
        descriptor, _ = await self._acquire("create", path, opener)
        writing = Writing(self._threads, descriptor, offset)
        size_bytes = 0
        try:
            async for piece in content:
                with _translated("write", path):
                    self._check_open()
                    await self._visit(writing.add(piece))
                size_bytes += len(piece)
            with _translated("write", path):
                await self._visit(writing.end())
            with _translated("sync", path):
                await self._run_alone(os.fsync, descriptor)
        finally:
            await writing.close()
        return size_bytes

    async def take_whole(self, moves: Sequence[Move]) -> list[Took]:
        """Take and read small files, each in one visit to a thread."""
        with _translated("take", f"{len(moves)} files"):
            return await self._run_all([partial(local_bundles.take_whole, self._root, move) for move in moves])

    async def look_at_all(self, paths: Sequence[str]) -> list[Entry | None]:
        """Say what stands under these names."""
        with _translated("look at", f"{len(paths)} files"):
            return await self._run_all([partial(local_bundles.look_at, self._root, path) for path in paths])

    async def remove_taken(self, places: Sequence[tuple[str, str]]) -> list[MftError | None]:
        """Remove taken files and their folders."""
        calls = [partial(local_bundles.remove_taken, self._root, folder, name) for folder, name in places]
        paths = [join(folder, name) for folder, name in places]
        return await self._outcomes("remove", paths, calls)

    async def write_whole(self, files: Sequence[tuple[str, bytes]]) -> list[int | None]:
        """Make small files and sync each: one by one and not with short calls, for a sync may take long."""
        calls = [partial(local_bundles.write_whole, self._root, path, content) for path, content in files]
        with _translated("write", f"{len(files)} files"):
            return await self._run_all(calls, alone=True)

    async def rename_all(self, names: Sequence[tuple[str, str]]) -> list[MftError | None]:
        """Rename files."""
        calls = [partial(os.replace, self._real(old), self._real(new)) for old, new in names]
        return await self._outcomes("rename", [old for old, _ in names], calls)

    async def close(self) -> None:
        """Take no further call; what waits for a thread fails, and nothing is kept open."""
        self.abort()

    def abort(self) -> None:
        """Do the same; there is nothing to wait for."""
        self._is_closed = True
        self._threads.close()

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a short blocking call in a thread, together with others."""
        self._check_open()
        return await self._visit(self._threads.run(call, *args, **kwargs))

    async def _run_alone(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call in a thread that may take long."""
        self._check_open()
        return await self._visit(self._threads.run_alone(call, *args, **kwargs))

    async def _run_all(self, calls: Sequence[Callable[[], T]], *, alone: bool = False) -> list[T]:
        """Run blocking calls in threads; short ones, unless each is to run `alone`."""
        self._check_open()
        return await self._visit(self._threads.run_all(calls, alone=alone))

    async def _outcomes(
        self, doing: str, paths: Sequence[str], calls: Sequence[Callable[[], None]]
    ) -> list[MftError | None]:
        """Run calls of which each may fail, and say of each why."""
        checked = [partial(_outcome, doing, path, call) for path, call in zip(paths, calls, strict=True)]
        return await self._run_all(checked)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"{self._root} was closed")

    async def _visit(self, visit: Awaitable[T]) -> T:
        try:
            return await visit
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_closed and not (task and task.cancelling()):
                # Nobody cancelled us: the call was still waiting for its thread.
                raise Unavailable(f"{self._root} was closed") from None
            raise

    async def _acquire(self, doing: str, path: str, call: Callable[[str], tuple[int, bytes]]) -> tuple[int, bytes]:
        """Open a descriptor in a thread. If that is cancelled, what the thread has opened is closed."""
        opened: list[tuple[int, bytes]] = []
        with _translated(doing, path):
            try:
                await self._run(lambda: opened.append(call(self._real(path))))
            except BaseException:
                for descriptor, _ in opened:
                    os.close(descriptor)
                raise
        return opened[0]

    async def _pieces(self, reading: Reading, content: bytes, path: str) -> AsyncIterator[Content]:
        while len(content) == VISIT_BYTES:
            reading.go_on()
            for piece in split(content):
                yield piece
            with _translated("read", path):
                content = await self._visit(reading.take())
        for piece in split(content):  # What is less was cut by the end of the file.
            yield piece

    def _real(self, path: str) -> str:
        return join(self._root, path)


def _batch(listing: Iterator[os.DirEntry[str]]) -> list[Entry]:
    """Read up to one batch of entries; a name that vanished since is left out."""
    batch: list[Entry] = []
    for entry in listing:
        try:
            batch.append(entry_of(entry.name, entry.stat(follow_symlinks=False)))
        except FileNotFoundError:
            continue
        if len(batch) == _SCAN_BATCH:
            break
    return batch


def _open_to_read(real: str, offset: int) -> tuple[int, bytes]:
    """Open a file and read its first piece, so that a small file costs one visit to the thread."""
    # Without waiting: what is no file by now may be a pipe that nobody writes to.
    descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        return descriptor, read_whole(descriptor, offset)
    except BaseException:
        os.close(descriptor)
        raise


def _create(real: str) -> tuple[int, bytes]:
    return os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), b""


def _open_to_go_on(real: str, offset: int) -> tuple[int, bytes]:
    descriptor = os.open(real, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    os.ftruncate(descriptor, offset)
    return descriptor, b""


def _sha256(real: str) -> str:
    with Path(real).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _outcome(doing: str, path: str, call: Callable[[], None]) -> MftError | None:
    """Make the call; say why it failed, if it did.

    Raises:
        Unavailable: it is the storage that does not answer.
    """
    try:
        with _translated(doing, path):
            call()
    except Unavailable:
        raise
    except MftError as error:
        return error
    return None


class _translated:  # noqa: N801 - used like a function
    """Turns an `OSError` into ours, saying what was being done to what."""

    __slots__ = ("_doing", "_path")

    def __init__(self, doing: str, path: str) -> None:
        self._doing, self._path = doing, path

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise ours in the place of the system's."""
        if isinstance(error, OSError):
            message = f"cannot {self._doing} {shown(self._path)}: {error.strerror}"
            raise _error_class(error.errno)(message) from error


_EXHAUSTED = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
)


def _error_class(number: int | None) -> type[MftError]:
    if number == errno.ENOENT:
        return NotFound
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied
    if number in _EXHAUSTED:
        return Exhausted
    if number in OUTAGES:
        return Unavailable
    return MftError
