"""SFTP version 3 as bytes: requests taken apart, answers put together. Pure; no files, no SSH.

Source: draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL for the extensions. Bytes after the known fields of a
request are ignored, as OpenSSH does: older Go clients send their whole buffer in the last WRITE, others add flags of
later versions.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from mft.errors import Invalid
from mft.files.confined import Entry

VERSION = 3
PACKET_BYTES_MAX = 256 * 1024 + 1024
"""Largest packet taken: a write of 256 KiB and what surrounds it; OpenSSH's own bound is 256 KiB."""
WRITE_BYTES_MAX = 255 * 1024
OFFSET_MAX = 2**63 - 1 - PACKET_BYTES_MAX
"""The kernel's offsets are signed."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""As `ls -l` in the C locale writes them, whatever the locale of this process."""


class Kind(IntEnum):
    """Types of packets."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    READLINK = 19
    SYMLINK = 20
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
    APPEND = 0x04
    CREATE = 0x08
    TRUNCATE = 0x10
    EXCLUSIVE = 0x20


SIZE, OWNER, PERMISSIONS, TIMES, EXTENDED = 0x01, 0x02, 0x04, 0x08, 0x80000000


class Attributes(NamedTuple):
    """What a client asks to set. Owner and extended attributes are read over."""

    size_bytes: int | None = None
    mode: int | None = None
    times_s: tuple[int, int] | None = None


class Packet:
    """One request, read field by field. Raises Invalid when it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """Read a byte."""
        return self._take(1)[0]

    def uint32(self) -> int:
        """Read a 32 bit number."""
        return int.from_bytes(self._take(4), "big")

    def uint64(self) -> int:
        """Read a 64 bit number."""
        return int.from_bytes(self._take(8), "big")

    def offset(self) -> int:
        """Read a place in a file, or a size. Raises Invalid for one beyond what any file has."""
        value = self.uint64()
        if value > OFFSET_MAX:
            raise Invalid(f"{value} is beyond the end of any file")
        return value

    def string(self) -> bytes:
        """Read bytes with their length before them."""
        return self._take(self.uint32())

    def attributes(self) -> Attributes:
        """Read file attributes."""
        flags = self.uint32() if self._at < len(self._data) else 0
        size = self.offset() if flags & SIZE else None
        if flags & OWNER:
            self._take(8)
        mode = self.uint32() & 0o7777 if flags & PERMISSIONS else None
        times = (self.uint32(), self.uint32()) if flags & TIMES else None
        return Attributes(size, mode, times)

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Invalid("the request is cut off")
        taken, self._at = self._data[self._at : end], end
        return taken


class Inflow:
    """Bytes as they come in from the channel, cut into packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the packets that are complete now. Raises Invalid for one larger than any client needs."""
        self._buffer += data
        packets: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= 4:
            size = int.from_bytes(self._buffer[at : at + 4], "big")
            if not 5 <= size <= PACKET_BYTES_MAX:
                raise Invalid(f"a packet of {size} bytes; between 5 and {PACKET_BYTES_MAX} are accepted")
            if len(self._buffer) - at - 4 < size:
                break
            packets.append(bytes(self._buffer[at + 4 : at + 4 + size]))
            at += 4 + size
        del self._buffer[:at]
        return packets


def string(data: bytes) -> bytes:
    """Put a length before bytes."""
    return struct.pack(">I", len(data)) + data


def packet(kind: Kind, body: bytes) -> bytes:
    """Put length and type before a body."""
    return struct.pack(">IB", len(body) + 1, kind) + body


def answer(kind: Kind, id: int, body: bytes) -> bytes:
    """Make the answer to request `id`."""
    return struct.pack(">IBI", len(body) + 5, kind, id) + body


def status_body(code: int, text: str) -> bytes:
    """Make the body of a STATUS."""
    return struct.pack(">I", code) + string(text.encode("utf-8", "replace")) + string(b"en")


def attributes(status: os.stat_result) -> bytes:
    """Make the attributes of a file: size, owner, permissions and times are always there."""
    return struct.pack(
        ">IQIIIII",
        SIZE | OWNER | PERMISSIONS | TIMES,
        status.st_size,
        status.st_uid & 0xFFFFFFFF,
        status.st_gid & 0xFFFFFFFF,
        status.st_mode,
        _time32(status.st_atime),
        _time32(status.st_mtime),
    )


def _time32(seconds: float) -> int:
    return max(0, min(0xFFFFFFFF, int(seconds)))


def names(entries: Iterable[Entry], now: float) -> bytes:
    """Make the body of a NAME from entries of a folder."""
    parts = [string(e.name) + string(long_name(e, now)) + attributes(e.status) for e in entries]
    return struct.pack(">I", len(parts)) + b"".join(parts)


def bare_name(path: bytes) -> bytes:
    """Make the body of a NAME that holds one path without attributes, as REALPATH answers."""
    return struct.pack(">I", 1) + string(path) + string(path) + struct.pack(">I", 0)


def long_name(entry: Entry, now: float) -> bytes:
    """Show an entry as `ls -l` does: clients such as lftp read this line. Owners are numbers."""
    status = entry.status
    when = time.gmtime(status.st_mtime)
    recent = now - 182 * 86400 < status.st_mtime <= now + 86400
    month = MONTHS[when.tm_mon - 1]
    clock = f"{when.tm_hour:02}:{when.tm_min:02}" if recent else f"{when.tm_year:5}"
    line = (
        f"{stat.filemode(status.st_mode)} {status.st_nlink:4} {status.st_uid:<8} {status.st_gid:<8} "
        f"{status.st_size:8} {month} {when.tm_mday:2} {clock:>5} "
    )
    return line.encode() + entry.name


def space(status: os.statvfs_result) -> bytes:
    """Make the answer to statvfs@openssh.com."""
    flags = (1 if status.f_flag & os.ST_RDONLY else 0) | (2 if status.f_flag & os.ST_NOSUID else 0)
    return struct.pack(
        ">11Q",
        status.f_bsize,
        status.f_frsize,
        status.f_blocks,
        status.f_bfree,
        status.f_bavail,
        status.f_files,
        status.f_ffree,
        status.f_favail,
        status.f_fsid & 0xFFFFFFFFFFFFFFFF,
        flags,
        status.f_namemax,
    )
