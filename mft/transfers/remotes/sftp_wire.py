"""SFTP version 3 as bytes, from the client's side: requests put together, answers taken apart. Pure; no SSH, no tasks.

Source: draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL for the extensions.
"""

from __future__ import annotations

import stat
import struct
from enum import IntEnum
from typing import NamedTuple

from mft.transfers.remotes.base import Entry

VERSION = 3
PACKET_BYTES_MAX = 512 * 1024
"""Largest answer taken. Nobody sends more than the 256 KiB that are asked for at one time, and what surrounds them."""
POSIX_RENAME = b"posix-rename@openssh.com"
FSYNC = b"fsync@openssh.com"
LIMITS = b"limits@openssh.com"
CHECK_FILE = b"check-file-name"
STATVFS = b"statvfs@openssh.com"


class Kind(IntEnum):
    """Types of packets."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    STAT = 17
    RENAME = 18
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Flag(IntEnum):
    """Bits of OPEN's flags."""

    READ = 0x01
    WRITE = 0x02
    CREATE = 0x08
    EXCLUSIVE = 0x20


class Code(IntEnum):
    """What a STATUS says; those from 10 on are of later versions, which some servers use all the same."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    UNSUPPORTED = 8
    NO_SUCH_PATH = 10
    WRITE_PROTECT = 12
    NO_SPACE = 14
    QUOTA_EXCEEDED = 15


class Refused(Exception):  # noqa: N818 - reads as what it says
    """The server's answer is that it did not do it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Garbled(Exception):  # noqa: N818
    """What came is not SFTP."""


class Answer(NamedTuple):
    """One answer: its type, and what follows the request's number."""

    kind: int
    body: memoryview


_SIZE, _OWNER, _PERMISSIONS, _TIMES, _EXTENDED = 0x01, 0x02, 0x04, 0x08, 0x80000000
_HEAD = struct.Struct(">IBI")
_UINT32 = struct.Struct(">I")
_UINT64 = struct.Struct(">Q")
_PLACE = struct.Struct(">QI")
_STATVFS = struct.Struct(">11Q")
_WHOLE = struct.Struct(">QQI")
"""Where to begin, how many bytes (0: all), how many of them a hash (0: all)."""
_NO_ATTRIBUTES = bytes(4)

HEAD_BYTES = _HEAD.size


def head(kind: int, number: int, body_bytes: int) -> bytes:
    """Make what stands before a request's body: length, type, number."""
    return _HEAD.pack(5 + body_bytes, kind, number)


def split_head(data: bytes | bytearray, at: int) -> tuple[int, int, int]:
    """Read an answer's head: (bytes after the length, type, number)."""
    size, kind, number = _HEAD.unpack_from(data, at)
    return size, kind, number


def init() -> bytes:
    """Make the first packet."""
    return struct.pack(">IBI", 5, Kind.INIT, VERSION)


def encoded(path: str) -> bytes:
    """Write a path as it travels. Names are bytes to a server: those that are no UTF-8 survive as well."""
    return path.encode("utf-8", "surrogateescape") or b"."


def string(value: bytes) -> bytes:
    """Write bytes with their length before them."""
    return _UINT32.pack(len(value)) + value


def path(name: str) -> bytes:
    """Write a path with its length before it."""
    return string(encoded(name))


def opening(name: str, flags: int) -> bytes:
    """Write the body of OPEN."""
    return path(name) + _UINT32.pack(flags) + _NO_ATTRIBUTES


def making(name: str) -> bytes:
    """Write the body of MKDIR."""
    return path(name) + _NO_ATTRIBUTES


def reading(handle: bytes, offset: int, size_bytes: int) -> bytes:
    """Write the body of READ."""
    return string(handle) + _PLACE.pack(offset, size_bytes)


def writing(handle: bytes, offset: int, size_bytes: int) -> bytes:
    """Write the body of WRITE but for the data, which follow."""
    return string(handle) + _PLACE.pack(offset, size_bytes)


def status(answer: Answer) -> None:
    """Take a STATUS that says that it was done. Raises Refused, Garbled."""
    if answer.kind != Kind.STATUS:
        raise Garbled(f"an answer of type {answer.kind} where a status was due")
    (code,) = _UINT32.unpack_from(answer.body)
    if code != Code.OK:
        raise refusal(answer)


def refusal(answer: Answer) -> Exception:
    """Make the error of an answer that is not what was asked for."""
    if answer.kind != Kind.STATUS:
        return Garbled(f"an answer of type {answer.kind}")
    (code,) = _UINT32.unpack_from(answer.body)
    reason = f"status {code}"
    if len(answer.body) >= 8:  # Older servers leave the words out.
        words, _ = _string(answer.body, 4)
        reason = words.decode("utf-8", "replace") or reason
    return Refused(code, reason)


def handle(answer: Answer) -> bytes:
    """Take the handle out of a HANDLE. Raises Refused, Garbled."""
    if answer.kind != Kind.HANDLE:
        raise refusal(answer)
    return _string(answer.body, 0)[0]


def data(answer: Answer) -> memoryview:
    """Take the data out of a DATA; nothing at the end of the file. Raises Refused, Garbled."""
    if answer.kind != Kind.DATA:
        error = refusal(answer)
        if isinstance(error, Refused) and error.code == Code.EOF:
            return memoryview(b"")
        raise error
    (size,) = _UINT32.unpack_from(answer.body)
    if 4 + size > len(answer.body):
        raise Garbled("data that are cut off")
    return answer.body[4 : 4 + size]


def attributes(answer: Answer, name: str) -> Entry:
    """Take the attributes out of an ATTRS. Raises Refused, Garbled."""
    if answer.kind != Kind.ATTRS:
        raise refusal(answer)
    return _attributes(answer.body, 0, name)[0]


def names(answer: Answer) -> list[Entry]:
    """Take a listing's names out of a NAME; none at its end. Raises Refused, Garbled."""
    if answer.kind != Kind.NAME:
        error = refusal(answer)
        if isinstance(error, Refused) and error.code == Code.EOF:
            return []
        raise error
    (count,) = _UINT32.unpack_from(answer.body)
    at, entries = 4, []
    for _ in range(count):
        name, at = _string(answer.body, at)
        at += 4 + _UINT32.unpack_from(answer.body, at)[0]  # The line as `ls -l` would write it.
        entry, at = _attributes(answer.body, at, name.decode("utf-8", "surrogateescape"))
        entries.append(entry)
    return entries


def version(packet: bytes) -> dict[bytes, bytes]:
    """Take the extensions (name → data) out of the server's first packet. Raises Garbled."""
    if packet[:1] != bytes((Kind.VERSION,)):
        raise Garbled("no SFTP server answers")
    body, at, extensions = memoryview(packet), 5, {}
    while at < len(body):
        name, at = _string(body, at)
        extensions[name], at = _string(body, at)
    return extensions


def limits(answer: Answer) -> tuple[int, int]:
    """Take the longest read and the longest write out of what limits@openssh.com answers; 0: it does not say."""
    if answer.kind != Kind.EXTENDED_REPLY:
        raise refusal(answer)
    _, read_bytes, write_bytes, _ = struct.unpack_from(">4Q", answer.body)
    return read_bytes, write_bytes


def room_bytes(answer: Answer) -> int:
    """Take the room that is left out of what statvfs@openssh.com answers."""
    if answer.kind != Kind.EXTENDED_REPLY:
        raise refusal(answer)
    _, fragment_bytes, _, _, available, *_ = _STATVFS.unpack_from(answer.body)
    return int(fragment_bytes * available)


def hashing(name: str) -> bytes:
    """Write the body of the request to hash a whole file.

    Source: draft-ietf-secsh-filexfer-extensions-00, section 3.
    """
    return string(CHECK_FILE) + path(name) + string(b"sha256") + _WHOLE.pack(0, 0, 0)


def hashed(answer: Answer) -> str:
    """Take the hexadecimal digest out of what check-file answers. Raises Refused, Garbled."""
    if answer.kind != Kind.EXTENDED_REPLY:
        raise refusal(answer)
    algorithm, at = _string(answer.body, 0)
    if algorithm == b"check-file":  # The draft has it, ProFTPD leaves it out.
        algorithm, at = _string(answer.body, at)
    digest = bytes(answer.body[at:])
    if algorithm != b"sha256" or len(digest) != 32:
        raise Garbled(f"{len(digest)} bytes of a hash by {algorithm.decode('utf-8', 'replace')!r}")
    return digest.hex()


def _string(body: memoryview, at: int) -> tuple[bytes, int]:
    (size,) = _UINT32.unpack_from(body, at)
    end = at + 4 + size
    if end > len(body):
        raise Garbled("an answer that is cut off")
    return bytes(body[at + 4 : end]), end


def _attributes(body: memoryview, at: int, name: str) -> tuple[Entry, int]:
    (flags,) = _UINT32.unpack_from(body, at)
    at += 4
    size_bytes = mode = mtime = 0
    if flags & _SIZE:
        (size_bytes,) = _UINT64.unpack_from(body, at)
        at += 8
    if flags & _OWNER:
        at += 8
    if flags & _PERMISSIONS:
        (mode,) = _UINT32.unpack_from(body, at)
        at += 4
    if flags & _TIMES:
        (mtime,) = _UINT32.unpack_from(body, at + 4)
        at += 8
    if flags & _EXTENDED:
        (count,) = _UINT32.unpack_from(body, at)
        at += 4
        for _ in range(2 * count):
            at += 4 + _UINT32.unpack_from(body, at)[0]
    return Entry(name, size_bytes, float(mtime), stat.S_ISREG(mode), stat.S_ISDIR(mode)), at
