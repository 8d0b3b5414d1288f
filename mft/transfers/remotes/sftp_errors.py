"""What the SSH library's errors mean for a transfer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncssh

from mft.errors import Denied, Exhausted, MftError, NotFound, Unavailable
from mft.transfers.remotes.base import shown


@contextmanager
def translated(doing: str, path: str, where: str) -> Iterator[None]:
    """Turn errors of the library and of the connection into ours, saying what was being done to what."""
    try:
        yield
    except (asyncssh.Error, OSError, TimeoutError) as error:
        raise error_class(error)(f"cannot {doing} {shown(path)} at {where}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Say in a few words what went wrong."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return shown(getattr(error, "reason", "") or str(error) or type(error).__name__)


def error_class(error: BaseException) -> type[MftError]:
    """Choose the class whose remedy fits."""
    if isinstance(error, asyncssh.SFTPNoSuchFile | asyncssh.SFTPNoSuchPath):
        return NotFound
    if isinstance(error, asyncssh.SFTPPermissionDenied | asyncssh.SFTPWriteProtect):
        return Denied
    if isinstance(error, asyncssh.SFTPNoSpaceOnFilesystem | asyncssh.SFTPQuotaExceeded):
        return Exhausted
    if isinstance(error, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection):
        return Unavailable
    # A plain SFTP failure is an answer: the server did not do it. All else is the connection's.
    return MftError if isinstance(error, asyncssh.SFTPError) else Unavailable
