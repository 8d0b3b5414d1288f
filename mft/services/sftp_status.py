"""The one table of errors → SFTP status. Version 3 knows codes 0 to 8; all else is FAILURE with a text that says more.

Source: draft-ietf-secsh-filexfer-02 §7.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from mft.errors import Denied, Exhausted, Invalid, MftError, NotFound, Unavailable


class Code(IntEnum):
    """Status codes of version 3."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    OP_UNSUPPORTED = 8


class Status(NamedTuple):
    """What a client is told."""

    code: Code
    text: str


class EndOfFile(Exception):  # noqa: N818 - it is an answer, not an error
    """There is nothing more to read or list."""


class Unsupported(Exception):  # noqa: N818
    """Asked for something that this server does not do."""


_ERRNO: Mapping[int, Status] = {
    errno.ENOENT: Status(Code.NO_SUCH_FILE, "No such file or directory"),
    errno.ENOTDIR: Status(Code.NO_SUCH_FILE, "Not a directory"),
    errno.EACCES: Status(Code.PERMISSION_DENIED, "Permission denied"),
    errno.EPERM: Status(Code.PERMISSION_DENIED, "Operation not permitted"),
    errno.EROFS: Status(Code.PERMISSION_DENIED, "Read-only file system"),
    errno.ELOOP: Status(Code.PERMISSION_DENIED, "Links are not followed here"),
    errno.EXDEV: Status(Code.FAILURE, "Not on the same file system"),
    errno.EEXIST: Status(Code.FAILURE, "File already exists"),
    errno.ENOTEMPTY: Status(Code.FAILURE, "Directory not empty"),
    errno.EISDIR: Status(Code.FAILURE, "Is a directory"),
    errno.ENOSPC: Status(Code.FAILURE, "No space left on the server"),
    errno.EDQUOT: Status(Code.FAILURE, "Quota exceeded"),
    errno.EFBIG: Status(Code.FAILURE, "File too large for the server"),
    errno.ENAMETOOLONG: Status(Code.FAILURE, "File name too long"),
    errno.ENOTSUP: Status(Code.OP_UNSUPPORTED, "Not supported by the server's storage"),
}

_MFT: tuple[tuple[type[Exception], Code], ...] = (
    (NotFound, Code.NO_SUCH_FILE),
    (Denied, Code.PERMISSION_DENIED),
    (Invalid, Code.BAD_MESSAGE),
    (Exhausted, Code.FAILURE),
    (Unavailable, Code.FAILURE),
)


def status_of(error: Exception) -> Status | None:
    """Return what a client is told of this error; None for a bug, which is nobody's business but ours."""
    if isinstance(error, EndOfFile):
        return Status(Code.EOF, "End of file")
    if isinstance(error, Unsupported):
        return Status(Code.OP_UNSUPPORTED, str(error) or "Not supported")
    if isinstance(error, OSError):
        return _ERRNO.get(error.errno or 0) or Status(Code.FAILURE, (error.strerror or "Failure")[:200])
    if isinstance(error, MftError):
        code = next((code for kind, code in _MFT if isinstance(error, kind)), Code.FAILURE)
        return Status(code, error.message)
    return None
