"""Steps of small files on local storage, each in one call of a thread.

What cannot be done is an outcome and no error, but for an outage of the storage: then it is not known what was done.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress

from mft.transfers.remotes.base import Entry, join, parents
from mft.transfers.remotes.bundles import WHOLE_BYTES_MAX, Move, Took, Whole

OUTAGES = (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ENODEV, errno.ENOTCONN, errno.EHOSTDOWN)
"""The storage does not answer."""
_LEFT = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)
"""A folder that somebody else has removed, or that is not empty."""


def entry_of(name: str, status: os.stat_result) -> Entry:
    """Make what a listing says of a name."""
    mode = status.st_mode
    return Entry(name, status.st_size, status.st_mtime, stat.S_ISREG(mode), stat.S_ISDIR(mode), status.st_ino)


def take_whole(root: str, move: Move) -> Took:
    """Move one file and read it. Raises OSError in an outage."""
    folder = join(root, move.folder)
    new = f"{folder}/{move.name}"
    try:
        os.mkdir(folder)
        for parent in parents(move.name):
            os.mkdir(f"{folder}/{parent}")
        os.rename(join(root, move.old), new)
    except OSError as error:
        _check(error)
        with suppress(OSError):
            _remove_folders(folder, move.name)
        return Took(is_taken=False)
    try:
        return Took(True, _read_whole(new))
    except OSError as error:
        _check(error)
        return Took(True)


def look_at(root: str, path: str) -> Entry | None:
    """Say what stands under one name. Raises OSError in an outage."""
    try:
        return entry_of(path.rpartition("/")[2], os.lstat(join(root, path)))
    except OSError as error:
        _check(error)
        return None


def remove_taken(root: str, folder: str, name: str) -> None:
    """Remove one file and the folders that lead to it, as far as they are there and empty. Raises OSError."""
    folder = join(root, folder)
    with suppress(FileNotFoundError):
        os.unlink(f"{folder}/{name}")
    _remove_folders(folder, name)


def write_whole(root: str, path: str, content: bytes) -> int | None:
    """Make one file and sync it; return the size with which it stands there. Raises OSError in an outage."""
    try:
        descriptor = os.open(join(root, path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            written = os.write(descriptor, content) if content else 0
            os.fsync(descriptor)
            return os.fstat(descriptor).st_size if written == len(content) else None
        finally:
            os.close(descriptor)
    except OSError as error:
        _check(error)
        return None


def _read_whole(real: str) -> Whole | None:
    """Read a small file that nobody writes to meanwhile; else None."""
    # Without waiting: what is no file by now may be a pipe that nobody writes to.
    descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode) or before.st_size > WHOLE_BYTES_MAX:
            return None
        content = os.read(descriptor, WHOLE_BYTES_MAX + 1)
        name = real.rpartition("/")[2]
        entry = entry_of(name, os.fstat(descriptor))
    finally:
        os.close(descriptor)
    if len(content) != before.st_size or entry != entry_of(name, before):
        return None
    return Whole(entry, content, hashlib.sha256(content).hexdigest())


def _check(error: OSError) -> None:
    if error.errno in OUTAGES:
        raise error


def _remove_folders(folder: str, name: str) -> None:
    for parent in [*reversed(parents(name)), ""]:
        try:
            os.rmdir(f"{folder}/{parent}" if parent else folder)
        except OSError as error:
            if error.errno not in _LEFT:
                raise
