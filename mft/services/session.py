"""One logged-in client: the only place that checks permission, touches a file and emits. It knows no protocol.

A session lives in its account's home folder, which it sees as `/`. Its blocking work runs on threads, and it raises
OSError or MftError, which each protocol translates in one table. An account that is changed keeps its open sessions
as they are; one that is disabled or removed has them ended by the service.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from mft.aio import Threads
from mft.errors import Exhausted, Unavailable
from mft.events import catalogue
from mft.files.confined import ConfinedFolder, Entry, FolderScan, normalized, write_fully
from mft.model.accounts import AccountSpec
from mft.model.delivery import TAKEN_FOLDER
from mft.services.uploads import OpenFile, Wish, discard, open_file, publish

FILES_MAX = 64
FOLDERS_MAX = 16
READ_BYTES_MAX = 256 * 1024
"""Most bytes of one read: a client asks for up to 4 GiB, and gets less, which every client understands."""


Emit = Callable[[int, dict[str, Any]], None]
"""Takes an event's id and fields. Never waits."""


class Origin(NamedTuple):
    """Where a session comes from: what all its events say."""

    account: str
    service: str
    protocol: str
    address: str
    port: int


class Changes(NamedTuple):
    """Attributes to set; None leaves one as it is. Owners are never changed: they are the server's."""

    size_bytes: int | None = None
    mode: int | None = None
    times_ns: tuple[int, int] | None = None
    """Accessed, modified; nanoseconds since 1970."""


async def open_home(account: AccountSpec, umask: int, threads: Threads) -> ConfinedFolder:
    """Open an account's home folder, made if the account says so. Raises Unavailable: our storage is amiss."""
    try:
        return await threads.run(
            ConfinedFolder,
            account.home_folder_path,
            umask=umask,
            create=account.create_home_folder,
            # Sources on their way to a partner stand there: who could touch them could lose or double a delivery.
            hidden=TAKEN_FOLDER.encode(),
        )
    except OSError as error:
        raise Unavailable(f"cannot open the home folder {account.home_folder_path}: {error.strerror}") from error


class Session:
    """Files of one login. Owns `home` and closes it in `end`."""

    def __init__(
        self, origin: Origin, home: ConfinedFolder, threads: Threads, emit: Emit, uploads: Literal["atomic", "direct"]
    ) -> None:
        self.origin = origin
        self._home = home
        self._threads = threads
        self._emit = emit
        self._atomic = uploads == "atomic"
        self._files: set[OpenFile] = set()
        self._opening = 0
        self._folders: set[FolderScan] = set()
        self._uploads: dict[bytes, OpenFile] = {}
        self._note(catalogue.SESSION_OPENED)

    @property
    def is_busy(self) -> bool:
        """Whether a file is open: cutting such a session off loses work."""
        return bool(self._files)

    async def end(self) -> None:
        """Close what is open, remove what is not complete, and say so."""
        for file in tuple(self._files):
            await self.abandon(file)
        for folder in tuple(self._folders):
            await self.close_folder(folder)
        self._home.close()

    # ---- files

    async def open(self, path: bytes, wish: Wish, mode: int | None = None) -> OpenFile:
        """Open a file; `mode` are the permissions of a new one before the umask. Raises Exhausted, OSError."""
        path = normalized(path)
        if len(self._files) + self._opening >= FILES_MAX:
            self._note(catalogue.TOO_MANY_OPEN, path=path, limit=FILES_MAX)
            raise Exhausted(f"a session may have {FILES_MAX} files open; close one first")
        self._opening += 1
        try:
            # A file that this session is still uploading is found under its name, unless it is begun anew.
            actual, atomic = (path, self._atomic) if wish.truncate else (self._actual(path), self._atomic)
            atomic = atomic and actual == path
            file = await self._threads.run(open_file, self._home, actual, wish, mode, atomic=atomic)
        except (OSError, Unavailable) as error:
            failed = catalogue.UPLOAD_FAILED if wish.write else catalogue.DOWNLOAD_FAILED
            self._note(failed, path=path, reason=_reason(error))
            raise
        finally:
            self._opening -= 1
        file.path = path
        self._files.add(file)
        if file.temp is not None:
            self._uploads[path] = file
        self._note(catalogue.UPLOAD_BEGUN if wish.write else catalogue.DOWNLOAD_BEGUN, path=path)
        return file

    async def read(self, file: OpenFile, offset: int, size_bytes: int) -> bytes:
        """Return up to `size_bytes`, no more than READ_BYTES_MAX; nothing at the end of the file."""
        data = await self._threads.run(os.pread, file.fd, min(size_bytes, READ_BYTES_MAX), offset)
        file.read_bytes += len(data)
        return data

    async def write(self, file: OpenFile, offset: int, data: bytes) -> None:
        """Write all of `data`; raises OSError, after which an atomic upload will not be published."""
        try:
            await self._threads.run(write_fully, file.fd, data, offset)
        except OSError as error:
            file.error = _reason(error)
            raise
        file.written_bytes += len(data)

    async def sync(self, file: OpenFile) -> None:
        """Make what was written durable."""
        await self._threads.run(os.fsync, file.fd)

    async def close(self, file: OpenFile) -> None:
        """Close a file as its client means it: an atomic upload is now complete. Raises OSError if it could not be."""
        self._files.discard(file)
        try:
            await self._threads.run(publish, self._home, file)
        except OSError as error:
            file.error = file.error or _reason(error)
            raise
        finally:
            self._forget_upload(file)
            self._note_end(file)

    async def abandon(self, file: OpenFile) -> None:
        """Close a file whose client has gone: an atomic upload is removed."""
        self._files.discard(file)
        file.error = file.error or "the session ended before the file was closed"
        try:
            await self._threads.run(discard, self._home, file)
        except OSError as error:
            file.error += f"; its temporary file could not be removed: {_reason(error)}"
        finally:
            self._forget_upload(file)
            self._note_end(file)

    async def file_status(self, file: OpenFile) -> os.stat_result:
        """Return the status of an open file."""
        return await self._threads.run(os.fstat, file.fd)

    async def change_file(self, file: OpenFile, changes: Changes) -> None:
        """Set attributes of an open file. Its times stay when an atomic upload is renamed."""
        await self._threads.run(_change_fd, self._home, file, changes)

    # ---- names

    async def status(self, path: bytes) -> os.stat_result:
        """Return the status of what `path` names; links are refused."""
        return await self._threads.run(self._home.stat, self._actual(path))

    async def own_status(self, path: bytes) -> os.stat_result:
        """Return the status of the entry itself, which may be a link."""
        return await self._threads.run(self._home.lstat, self._actual(path))

    async def change(self, path: bytes, changes: Changes) -> None:
        """Set attributes of what `path` names."""
        await self._threads.run(_change_path, self._home, self._actual(path), changes)

    async def space(self, path: bytes) -> os.statvfs_result:
        """Return size and free space of the storage that holds `path`."""
        return await self._threads.run(self._home.statvfs, self._actual(path))

    async def remove(self, path: bytes) -> None:
        """Remove a file or link; one that this session is uploading is then never published."""
        upload = self._uploads.pop(normalized(path), None)
        if upload is not None:
            upload.removed = True
        try:
            await self._threads.run(self._home.unlink, path)
        except FileNotFoundError:
            if upload is None:
                raise

    async def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Rename a file or folder; without `replace` an existing `new` is an error."""
        for path in (old, new):
            if normalized(path) in self._uploads:
                raise OSError(errno.EBUSY, "the file is still being uploaded; close it first", os.fsdecode(path))
        await self._threads.run(self._home.replace if replace else self._home.rename, old, new)

    # ---- folders

    async def make_folder(self, path: bytes, mode: int | None = None) -> None:
        """Make a folder with the permissions `mode` before the umask."""
        await self._threads.run(self._home.mkdir, path, 0o777 if mode is None else mode)

    async def remove_folder(self, path: bytes) -> None:
        """Remove an empty folder."""
        await self._threads.run(self._home.rmdir, path)

    async def open_folder(self, path: bytes) -> FolderScan:
        """Open a folder for listing; fails now if it cannot be. Raises Exhausted, OSError."""
        if len(self._folders) >= FOLDERS_MAX:
            self._note(catalogue.TOO_MANY_OPEN, path=normalized(path), limit=FOLDERS_MAX)
            raise Exhausted(f"a session may have {FOLDERS_MAX} folders open; close one first")
        scan = await self._threads.run(self._home.scan, path)
        self._folders.add(scan)
        return scan

    async def list_folder(self, scan: FolderScan, entries_max: int) -> list[Entry]:
        """Return the next entries, none at the end."""
        return await self._threads.run(scan.batch, entries_max)

    async def close_folder(self, scan: FolderScan) -> None:
        """Close a folder."""
        self._folders.discard(scan)
        await self._threads.run(scan.close)

    # ---- inside

    def _actual(self, path: bytes) -> bytes:
        """Return where `path` really is: aside, while this session uploads it."""
        path = normalized(path)
        upload = self._uploads.get(path)
        return upload.temp if upload is not None and upload.temp is not None else path

    def _forget_upload(self, file: OpenFile) -> None:
        if self._uploads.get(file.path) is file:
            del self._uploads[file.path]

    def _note(self, event: int, path: bytes | None = None, **fields: Any) -> None:
        if path is not None:
            fields["path"] = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
        self._emit(event, {**self.origin._asdict(), **fields})

    def _note_end(self, file: OpenFile) -> None:
        """Say how it went with a file, with its size and how long it took."""
        writes = file.wish.write
        fields: dict[str, Any] = {
            "size_bytes": file.written_bytes if writes else file.read_bytes,
            "duration_s": round(time.monotonic() - file.opened_at, 3),
        }
        if file.error:
            event = catalogue.UPLOAD_FAILED if writes else catalogue.DOWNLOAD_FAILED
            self._note(event, file.path, reason=file.error, **fields)
        else:
            self._note(catalogue.UPLOAD_DONE if writes else catalogue.DOWNLOAD_DONE, file.path, **fields)


def _change_fd(home: ConfinedFolder, file: OpenFile, changes: Changes) -> None:
    if changes.size_bytes is not None:
        os.ftruncate(file.fd, changes.size_bytes)
    if changes.mode is not None:
        os.fchmod(file.fd, home.permitted(changes.mode))
    if changes.times_ns is not None:
        os.utime(file.fd, ns=changes.times_ns)


def _change_path(home: ConfinedFolder, path: bytes, changes: Changes) -> None:
    if changes.size_bytes is not None:
        home.truncate(path, changes.size_bytes)
    if changes.mode is not None:
        home.chmod(path, changes.mode)
    if changes.times_ns is not None:
        home.utime(path, *changes.times_ns)
    if changes == Changes():
        home.stat(path)  # Nothing to set; a missing file is an error all the same.


def _reason(error: OSError | Unavailable) -> str:
    """Return why, without the path: the event and the client have it already, and it may be a temporary one."""
    return (error.strerror or "failed") if isinstance(error, OSError) else error.message
