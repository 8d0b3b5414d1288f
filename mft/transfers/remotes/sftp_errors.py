"""What the SSH library's errors mean for a transfer."""

from __future__ import annotations

from collections.abc import Mapping

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


class translated:  # noqa: N801 - used like a function
    """Turns errors of the library and of the connection into ours, saying what was being done to what.

    A class, because every exchange with a partner passes through it, and a generator costs three times as much.
    """

    __slots__ = ("_doing", "_path", "_where")

    def __init__(self, doing: str, path: str, where: str) -> None:
        self._doing, self._path, self._where = doing, path, where

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise ours in the place of theirs."""
        if isinstance(error, FAILURES):
            message = f"cannot {self._doing} {shown(self._path)} at {self._where}: {reason(error)}"
            raise error_class(error)(message) from error


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
