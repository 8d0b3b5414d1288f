"""What each remote can do, and what its errors mean: the seam between the delivery protocol and the world."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

PIECE_BYTES = 252 * 1024
"""Most bytes of one piece of content, as a rule: as much as one request to an OpenSSH server holds, in whole pages."""

Content = bytes | memoryview
"""A piece of a file's content. Nobody changes it once it is given: it is hashed, written and sent later."""


class Entry(NamedTuple):
    """What a listing says of one name."""

    name: str
    size_bytes: int
    mtime: float
    """Seconds since 1970, by the remote's clock."""
    is_file: bool
    is_folder: bool
    inode: int = 0
    """On local storage; 0 where the remote tells none."""


class Remote(Protocol):
    """One open location. Paths are absolute, or relative to the location's root, with `/` between their parts.

    Every method raises `NotFound` only where the remote itself says that the name does not exist, `Denied` where it
    refuses, `Exhausted` where it is full, and `Unavailable` where the connection failed or no answer came: the outcome
    of a change is then unknown.
    """

    source_atomic: bool
    """Whether of two renames of one source at most one can succeed, and a rename replaces an existing target."""

    def scan(self, folder: str) -> AsyncIterator[Entry]:
        """Yield the folder's entries, unsorted, without `.` and `..`."""
        ...

    async def lstat(self, path: str) -> Entry:
        """Say what stands under this name, without following a link."""
        ...

    async def rename(self, old: str, new: str) -> None:
        """Give `old` the name `new`, replacing what stood there."""
        ...

    async def remove(self, path: str) -> None:
        """Remove one file."""
        ...

    async def make_folder(self, path: str) -> None:
        """Make one folder; one that exists already is no error."""
        ...

    async def remove_folder(self, path: str) -> None:
        """Remove one folder if it is empty; one that is not is left, without an error."""
        ...

    def read(self, path: str, offset: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Content]]:
        """Open the file and give its content from `offset` (bytes) on, piece by piece."""
        ...

    async def write(self, path: str, content: AsyncIterator[Content], offset: int = 0) -> int:
        """Make a file of this content, on stable storage where the remote offers that. Returns bytes written.

        With an `offset` the file is there already, and is written on from that byte: what stands behind it is cut off,
        or written over as far as the content reaches. Else it is new.
        """
        ...

    async def sha256(self, path: str) -> str | None:
        """Have the remote itself hash the file: hexadecimal SHA-256, or None where it cannot."""
        ...

    async def close(self) -> None:
        """Give up the connection. Whatever was under way fails with `Unavailable`."""
        ...

    def abort(self) -> None:
        """Give up the connection at once, without waiting until it is gone."""
        ...


def join(*parts: str) -> str:
    """Put path parts together with single slashes; empty parts fall away."""
    if len(parts) == 2:  # As a rule, and often: for each name that is met.
        first, second = parts
        if first and second and first[-1] != "/" and second[0] != "/" and second[-1] != "/":
            return f"{first}/{second}"
    path = "/".join([part.strip("/") if index else part.rstrip("/") for index, part in enumerate(parts) if part])
    return path or "/"


def parents(path: str) -> list[str]:
    """List the folders in a path, the outermost first: of `a/b/c` these are `a` and `a/b`."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def shown(path: str) -> str:
    """Write a path as it may stand in a message: a name can hold line breaks, or bytes that are no text."""
    return path if path.isprintable() else ascii(path)
