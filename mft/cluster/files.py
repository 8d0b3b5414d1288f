"""Files that survive a crash and keep their secrets: written beside, flushed, renamed, folder flushed, mode 0600."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from mft.errors import Unavailable

FILE_MODE = 0o600
FOLDER_MODE = 0o700
TEMP_SUFFIX = ".tmp"


def make_folder(folder: Path) -> None:
    """Make the folder and its parents where missing, for the owner alone."""
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot make folder {folder}: {error.strerror}") from error


def write(path: Path, data: bytes, *, flush_folder: bool = True) -> None:
    """Write a file so that after a crash it has the old content or the new, whole. Raises `Unavailable`."""
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMP_SUFFIX}")
    try:
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temp.replace(path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        if flush_folder:
            flush(path.parent)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def flush(folder: Path) -> None:
    """Make renames in the folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> bytes | None:
    """Return the file's content, or None if there is none. Raises `Unavailable`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error
