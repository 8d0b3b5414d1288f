"""Many small files at one time: what a remote may offer besides the calls for single files.

A call for a file costs the program more than the file does, so of small ones many go through each call together. The
outcome is one for each file. What was not as expected is not explained here: such a file goes on by the calls for
single ones, which meet the same and say it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from mft.errors import MftError
from mft.transfers.remotes.base import Entry

WHOLE_BYTES_MAX = 32 * 1024
"""Files up to this size are kept in memory whole. As much is one request to every SFTP server."""


class Move(NamedTuple):
    """A source and where it is to stand once it is taken."""

    old: str
    folder: str
    """Is made; the folder around it must be there."""
    name: str
    """Path below that folder."""


class Whole(NamedTuple):
    """A file with all its content, which it kept while it was read."""

    entry: Entry
    content: bytes
    sha256: str


class Took(NamedTuple):
    """What became of one move."""

    is_taken: bool
    """It stands at the new place. Else everything is as before."""
    whole: Whole | None = None
    """None: it could not be read whole."""


@runtime_checkable
class GivesBundles(Protocol):
    """A remote that many small files can be taken from at one time. Each call raises `Unavailable` as a remote does."""

    async def take_whole(self, moves: Sequence[Move]) -> list[Took]:
        """Take and read these."""
        ...

    async def look_at_all(self, paths: Sequence[str]) -> list[Entry | None]:
        """Say what stands under these names; None where that cannot be said."""
        ...

    async def remove_taken(self, places: Sequence[tuple[str, str]]) -> list[MftError | None]:
        """Remove files, each `name` below its `folder`, with the folders that are empty then. What is gone is gone."""
        ...


@runtime_checkable
class TakesBundles(Protocol):
    """A remote that many small files can be written to at one time. Each call raises `Unavailable` as a remote does."""

    async def write_whole(self, files: Sequence[tuple[str, bytes]]) -> list[int | None]:
        """Make new files (path, content), on stable storage where the remote offers that.

        Returns the size in bytes with which each stands there then; None: refused, and perhaps a part of it stands.
        """
        ...

    async def rename_all(self, names: Sequence[tuple[str, str]]) -> list[MftError | None]:
        """Rename each old name to its new one. Returns why not, with the errors of `Remote.rename`."""
        ...
