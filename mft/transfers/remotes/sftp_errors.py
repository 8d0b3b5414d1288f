"""What the SSH library's errors mean for a transfer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import asyncssh

from mft.errors import Denied, Exhausted, MftError, NotFound, Unavailable
from mft.transfers.remotes.base import shown
from mft.transfers.remotes.sftp_exchange import Lost
from mft.transfers.remotes.sftp_wire import Code, Garbled, Refused

FAILURES = (asyncssh.Error, OSError, TimeoutError, Refused, Lost, Garbled)
"""What an exchange with a partner can raise."""

_OF_CODE: Mapping[int, type[MftError]] = {
    Code.NO_SUCH_FILE: NotFound,
    Code.NO_SUCH_PATH: NotFound,
    Code.PERMISSION_DENIED: Denied,
    Code.WRITE_PROTECT: Denied,
    Code.NO_SPACE: Exhausted,
    Code.QUOTA_EXCEEDED: Exhausted,
    Code.NO_CONNECTION: Unavailable,
    Code.CONNECTION_LOST: Unavailable,
}
"""Version 3's codes, and later ones that some servers use. All others are plain refusals."""


@contextmanager
def translated(doing: str, path: str, where: str) -> Iterator[None]:
    """Turn errors of the library and of the connection into ours, saying what was being done to what."""
    try:
        yield
    except FAILURES as error:
        raise error_class(error)(f"cannot {doing} {shown(path)} at {where}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Say in a few words what went wrong."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return shown(getattr(error, "reason", "") or str(error) or type(error).__name__)


def error_class(error: BaseException) -> type[MftError]:
    """Choose the class whose remedy fits."""
    if isinstance(error, Refused):
        return _OF_CODE.get(error.code, MftError)
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
