"""Each SFTP request as an operation of the session. Knows handles and versions; neither files nor SSH."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from mft.errors import Invalid
from mft.files.confined import Entry, FolderScan, normalized
from mft.services.session import FILES_MAX, READ_BYTES_MAX, Changes, Session
from mft.services.sftp_status import Code, EndOfFile, Unsupported, status_of
from mft.services.sftp_wire import (
    PACKET_BYTES_MAX,
    VERSION,
    WRITE_BYTES_MAX,
    Attributes,
    Flag,
    Kind,
    Packet,
    answer,
    attributes,
    bare_name,
    names,
    packet,
    space,
    status_body,
    string,
)
from mft.services.uploads import OpenFile, Wish

LISTED_MAX = 100
"""Entries of one answer: with long names and attributes well below what clients take as one packet."""

EXTENSIONS: Mapping[bytes, bytes] = {
    b"posix-rename@openssh.com": b"1",
    b"statvfs@openssh.com": b"2",
    b"fstatvfs@openssh.com": b"2",
    b"fsync@openssh.com": b"1",
    b"lsetstat@openssh.com": b"1",
    b"limits@openssh.com": b"1",
    b"expand-path@openssh.com": b"1",
}
"""Extensions that are offered. Not hardlink (links are off), not copy-data (it would hold up the channel)."""

Answer = tuple[Kind, bytes]
OK: Answer = (Kind.STATUS, status_body(Code.OK, ""))


class OpenFolder(NamedTuple):
    """A folder being listed, with the two entries that the kernel's list lacks."""

    scan: FolderScan
    dots: list[Entry]


class Requests:
    """Answers the requests of one channel. Its handles are its own; they end with it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._files: dict[bytes, OpenFile] = {}
        self._folders: dict[bytes, OpenFolder] = {}
        self._handles = 0
        self._started = False

    async def handle(self, data: bytes) -> bytes:
        """Return the answer to one packet. Raises Invalid if this is not SFTP at all, and what is a bug of ours."""
        request = Packet(data)
        kind = request.byte()
        if not self._started:
            if kind != Kind.INIT:
                raise Invalid("the first packet is not INIT")
            self._started = True
            offered = b"".join(string(name) + string(version) for name, version in EXTENSIONS.items())
            return packet(Kind.VERSION, struct.pack(">I", VERSION) + offered)
        id = request.uint32()
        try:
            reply, body = await self._operation(kind, request)(self, request)
        except Exception as error:
            status = status_of(error)
            if status is None:
                raise
            reply, body = Kind.STATUS, status_body(*status)
        return answer(reply, id, body)

    async def close(self) -> None:
        """Give up what the client has left open."""
        for file in self._files.values():
            await self._session.abandon(file)
        for folder in self._folders.values():
            await self._session.close_folder(folder.scan)
        self._files.clear()
        self._folders.clear()

    def _operation(self, kind: int, request: Packet) -> Operation:
        if kind == Kind.EXTENDED:
            name = request.string()
            if name not in EXTENDED:
                raise Unsupported(f"extension {name[:60].decode('ascii', 'replace')} is not supported")
            return EXTENDED[name]
        if kind not in OPERATIONS:
            raise Unsupported(f"request {kind} is not supported")
        return OPERATIONS[kind]

    def _new_handle(self) -> bytes:
        self._handles += 1
        return self._handles.to_bytes(8, "big")

    def _file(self, request: Packet) -> OpenFile:
        file = self._files.get(request.string())
        if file is None:
            raise OSError(errno.EBADF, "no such file handle")
        return file

    # ---- files

    async def _open(self, request: Packet) -> Answer:
        path, flags, wanted = request.string(), request.uint32(), request.attributes()
        wish = Wish(
            read=bool(flags & Flag.READ) or not flags & Flag.WRITE,
            write=bool(flags & Flag.WRITE),
            append=bool(flags & Flag.APPEND),
            create=bool(flags & Flag.CREATE),
            truncate=bool(flags & Flag.TRUNCATE),
            exclusive=bool(flags & Flag.EXCLUSIVE),
        )
        file = await self._session.open(path, wish, wanted.mode)
        handle = self._new_handle()
        self._files[handle] = file
        return Kind.HANDLE, string(handle)

    async def _close(self, request: Packet) -> Answer:
        handle = request.string()
        if folder := self._folders.pop(handle, None):
            await self._session.close_folder(folder.scan)
        elif file := self._files.pop(handle, None):
            await self._session.close(file)
        else:
            raise OSError(errno.EBADF, "no such handle")
        return OK

    async def _read(self, request: Packet) -> Answer:
        data = await self._session.read(self._file(request), request.offset(), request.uint32())
        if not data:
            raise EndOfFile
        return Kind.DATA, string(data)

    async def _write(self, request: Packet) -> Answer:
        await self._session.write(self._file(request), request.offset(), request.string())
        return OK

    async def _fstat(self, request: Packet) -> Answer:
        return Kind.ATTRS, attributes(await self._session.file_status(self._file(request)))

    async def _fsetstat(self, request: Packet) -> Answer:
        await self._session.change_file(self._file(request), _changes(request.attributes()))
        return OK

    async def _fsync(self, request: Packet) -> Answer:
        await self._session.sync(self._file(request))
        return OK

    # ---- names

    async def _stat(self, request: Packet) -> Answer:
        return Kind.ATTRS, attributes(await self._session.status(request.string()))

    async def _lstat(self, request: Packet) -> Answer:
        return Kind.ATTRS, attributes(await self._session.own_status(request.string()))

    async def _setstat(self, request: Packet) -> Answer:
        await self._session.change(request.string(), _changes(request.attributes()))
        return OK

    async def _remove(self, request: Packet) -> Answer:
        await self._session.remove(request.string())
        return OK

    async def _rename(self, request: Packet) -> Answer:
        await self._session.rename(request.string(), request.string(), replace=False)
        return OK

    async def _posix_rename(self, request: Packet) -> Answer:
        await self._session.rename(request.string(), request.string(), replace=True)
        return OK

    async def _realpath(self, request: Packet) -> Answer:
        return Kind.NAME, bare_name(normalized(request.string()))

    async def _expand_path(self, request: Packet) -> Answer:
        # `scp host:~/x`: the home is the root. Another account's home (`~name`) is nobody's business.
        path = request.string()
        if path == b"~" or path.startswith(b"~/"):
            path = path[1:]
        return Kind.NAME, bare_name(normalized(path))

    async def _link(self, request: Packet) -> Answer:
        raise Unsupported("links are not supported")

    # ---- folders

    async def _opendir(self, request: Packet) -> Answer:
        path = request.string()
        scan = await self._session.open_folder(path)
        handle = self._new_handle()
        own = scan.status()
        self._folders[handle] = OpenFolder(scan, [Entry(b".", own), Entry(b"..", own)])
        return Kind.HANDLE, string(handle)

    async def _readdir(self, request: Packet) -> Answer:
        folder = self._folders.get(request.string())
        if folder is None:
            raise OSError(errno.EBADF, "no such folder handle")
        entries = folder.dots + await self._session.list_folder(folder.scan, LISTED_MAX)
        folder.dots.clear()
        if not entries:
            raise EndOfFile
        return Kind.NAME, names(entries, time.time())

    async def _mkdir(self, request: Packet) -> Answer:
        await self._session.make_folder(request.string(), request.attributes().mode)
        return OK

    async def _rmdir(self, request: Packet) -> Answer:
        await self._session.remove_folder(request.string())
        return OK

    # ---- the whole

    async def _statvfs(self, request: Packet) -> Answer:
        return Kind.EXTENDED_REPLY, space(await self._session.space(request.string()))

    async def _fstatvfs(self, request: Packet) -> Answer:
        return Kind.EXTENDED_REPLY, space(await self._session.space(self._file(request).path))

    async def _limits(self, request: Packet) -> Answer:
        return Kind.EXTENDED_REPLY, struct.pack(">4Q", PACKET_BYTES_MAX, READ_BYTES_MAX, WRITE_BYTES_MAX, FILES_MAX)


Operation = Callable[[Requests, Packet], Awaitable[Answer]]

OPERATIONS: Mapping[int, Operation] = {
    Kind.OPEN: Requests._open,
    Kind.CLOSE: Requests._close,
    Kind.READ: Requests._read,
    Kind.WRITE: Requests._write,
    Kind.LSTAT: Requests._lstat,
    Kind.FSTAT: Requests._fstat,
    Kind.SETSTAT: Requests._setstat,
    Kind.FSETSTAT: Requests._fsetstat,
    Kind.OPENDIR: Requests._opendir,
    Kind.READDIR: Requests._readdir,
    Kind.REMOVE: Requests._remove,
    Kind.MKDIR: Requests._mkdir,
    Kind.RMDIR: Requests._rmdir,
    Kind.REALPATH: Requests._realpath,
    Kind.STAT: Requests._stat,
    Kind.RENAME: Requests._rename,
    Kind.READLINK: Requests._link,
    Kind.SYMLINK: Requests._link,
}

EXTENDED: Mapping[bytes, Operation] = {
    b"posix-rename@openssh.com": Requests._posix_rename,
    b"statvfs@openssh.com": Requests._statvfs,
    b"fstatvfs@openssh.com": Requests._fstatvfs,
    b"fsync@openssh.com": Requests._fsync,
    b"lsetstat@openssh.com": Requests._setstat,
    b"limits@openssh.com": Requests._limits,
    b"expand-path@openssh.com": Requests._expand_path,
    b"hardlink@openssh.com": Requests._link,
}


def _changes(wanted: Attributes) -> Changes:
    times = wanted.times_s
    return Changes(wanted.size_bytes, wanted.mode, (times[0] * 10**9, times[1] * 10**9) if times is not None else None)
