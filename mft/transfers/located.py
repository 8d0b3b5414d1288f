"""A remote whose errors say at which location they happened, so that whoever counts them knows whose they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Literal

from mft.errors import MftError
from mft.transfers.remotes.base import Content, Entry, Remote

Role = Literal["source", "destination", "archive"]


class LocatedRemote:
    """An open remote in its role in one transfer. What it wraps belongs to the pool."""

    def __init__(self, remote: Remote, location: str, role: Role) -> None:
        self.remote = remote
        self.source_atomic = remote.source_atomic
        self.location = location
        """Id of the location."""
        self._located = _Located(location, role)

    async def scan(self, folder: str) -> AsyncIterator[Entry]:
        """Yield the folder's entries."""
        with self._located:
            async for entry in self.remote.scan(folder):
                yield entry

    async def lstat(self, path: str) -> Entry:
        """Say what stands under this name."""
        with self._located:
            return await self.remote.lstat(path)

    async def rename(self, old: str, new: str) -> None:
        """Rename."""
        with self._located:
            await self.remote.rename(old, new)

    async def remove(self, path: str) -> None:
        """Remove one file."""
        with self._located:
            await self.remote.remove(path)

    async def make_folder(self, path: str) -> None:
        """Make one folder."""
        with self._located:
            await self.remote.make_folder(path)

    async def remove_folder(self, path: str) -> None:
        """Remove one folder if it is empty."""
        with self._located:
            await self.remote.remove_folder(path)

    @asynccontextmanager
    async def read(self, path: str, offset: int = 0) -> AsyncIterator[AsyncIterator[Content]]:
        """Open the file and give its content."""
        with self._located:
            async with self.remote.read(path, offset) as pieces:
                yield self._pieces(pieces)

    async def write(self, path: str, content: AsyncIterator[Content], offset: int = 0) -> int:
        """Make a file of this content."""
        with self._located:
            return await self.remote.write(path, content, offset)

    async def sha256(self, path: str) -> str | None:
        """Have the remote hash the file."""
        with self._located:
            return await self.remote.sha256(path)

    def locate(self, error: MftError) -> MftError:
        """Name the place in an error, unless it is named already."""
        self._located.name(error)
        return error

    @property
    def located(self) -> AbstractContextManager[None]:
        """Names the place in errors of calls that go to `remote` itself."""
        return self._located

    async def close(self) -> None:
        """Give up the connection."""
        await self.remote.close()

    def abort(self) -> None:
        """Give up the connection at once."""
        self.remote.abort()

    async def _pieces(self, pieces: AsyncIterator[Content]) -> AsyncIterator[Content]:
        with self._located:
            async for piece in pieces:
                yield piece


class _Located(AbstractContextManager[None]):
    """Names the place in an error, unless it is named already: content is read from within the other's writing.

    A class, because every call passes through it, and a generator costs three times as much. It holds nothing of a
    call, so one serves all.
    """

    __slots__ = ("_location", "_role")

    def __init__(self, location: str, role: Role) -> None:
        self._location, self._role = location, role

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Name it."""
        if isinstance(error, MftError):
            self.name(error)

    def name(self, error: MftError) -> None:
        """Name the place in this error."""
        if not error.location:
            error.location, error.role = self._location, self._role
