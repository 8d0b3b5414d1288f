"""What becomes of an open file: read, written in place, or kept aside under a hidden name until it is complete.

All here blocks and runs on threads.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from typing import NamedTuple

from mft.files.confined import FILE_MODE, NAME_BYTES_MAX, ConfinedFolder

TEMP_SUFFIX = b".uploading"


class Wish(NamedTuple):
    """How a client wants to open a file."""

    read: bool = False
    write: bool = False
    append: bool = False
    create: bool = False
    truncate: bool = False
    exclusive: bool = False


class OpenFile:
    """One open file of a session, and how much has gone through it. Used by one request at a time."""

    def __init__(self, path: bytes, fd: int, wish: Wish, temp: bytes | None) -> None:
        self.path = path
        """Where the client believes it to be."""
        self.fd = fd
        self.wish = wish
        self.temp = temp
        """Where an atomic upload really is until it is closed."""
        self.read_bytes = 0
        self.written_bytes = 0
        self.error = ""
        """Why an atomic upload must not be published."""
        self.removed = False
        """Whether the client has removed the name while it was uploading."""
        self.opened_at = time.monotonic()


def temp_path(path: bytes, token: str) -> bytes:
    """Name an upload of `path` in the same folder: hidden, so that no poller takes it, and not too long."""
    folder, _, name = path.rpartition(b"/")
    tail = b"." + token.encode() + TEMP_SUFFIX
    return folder + b"/." + name[: NAME_BYTES_MAX - 1 - len(tail)] + tail


def open_file(folder: ConfinedFolder, path: bytes, wish: Wish, mode: int | None, *, atomic: bool) -> OpenFile:
    """Open `path` (normalized) as wished; with `atomic` a new or truncated file is kept aside until `publish`.

    A file that exists and is not truncated (resume, append, random access) is written in place either way.
    """
    flags = os.O_RDWR if wish.read and wish.write else os.O_WRONLY if wish.write else os.O_RDONLY
    flags |= os.O_APPEND if wish.write and wish.append else 0
    mode = FILE_MODE if mode is None else mode
    if atomic and wish.write and (wish.create or wish.truncate) and _is_replaced(folder, path, wish):
        temp = temp_path(path, secrets.token_hex(6))
        return OpenFile(path, folder.open(temp, flags | os.O_CREAT | os.O_EXCL, mode), wish, temp)
    if wish.write and wish.create:
        try:
            # Two steps, so that a new file gets exactly our permissions and an old one keeps its own.
            return OpenFile(path, folder.open(path, flags | os.O_CREAT | os.O_EXCL, mode), wish, None)
        except FileExistsError:
            if wish.exclusive:
                raise
    flags |= os.O_TRUNC if wish.write and wish.truncate else 0
    return OpenFile(path, folder.open(path, flags), wish, None)


def _is_replaced(folder: ConfinedFolder, path: bytes, wish: Wish) -> bool:
    """Say whether this opening makes a new content for `path`; raises what opening it in place would."""
    try:
        status = folder.lstat(path)
    except FileNotFoundError:
        if not wish.create:
            raise
        return True
    if wish.create and wish.exclusive:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(path))
    if not wish.truncate:
        return False
    if not stat.S_ISREG(status.st_mode):
        os.close(folder.open(path, os.O_WRONLY))  # Raises the error that fits a folder, a link or a pipe.
    return True


def publish(folder: ConfinedFolder, file: OpenFile) -> None:
    """Close a file for good: what was written is durable, an atomic upload stands under its name, or this raises."""
    try:
        if file.wish.write:
            os.fsync(file.fd)
        if file.temp is not None and not file.removed:
            if file.error:
                raise OSError(errno.EIO, f"the upload was discarded: {file.error}", os.fsdecode(file.path))
            if file.wish.exclusive:
                folder.rename(file.temp, file.path)
            else:
                folder.replace(file.temp, file.path)
            file.temp = None
            folder.sync_folder(file.path)
    finally:
        discard(folder, file)


def discard(folder: ConfinedFolder, file: OpenFile) -> None:
    """Close a file without publishing it; a temp file goes."""
    fd, file.fd = file.fd, -1
    temp, file.temp = file.temp, None
    try:
        if fd >= 0:
            os.close(fd)
    finally:
        if temp is not None:
            try:
                folder.unlink(temp)
            except FileNotFoundError:
                pass
