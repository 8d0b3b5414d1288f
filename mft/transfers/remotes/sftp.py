"""A partner's SFTP server, as a remote. Source: draft-ietf-secsh-filexfer-02 (version 3), OpenSSH's PROTOCOL file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import TypeVar

import asyncssh

from mft.errors import Exhausted, Invalid, MftError, NotFound, Unavailable
from mft.model.locations import SftpLocationSpec
from mft.transfers.remotes import sftp_wire as wire
from mft.transfers.remotes.base import Content, Entry
from mft.transfers.remotes.sftp_bundles import send_whole
from mft.transfers.remotes.sftp_channels import Channels
from mft.transfers.remotes.sftp_connect import connect
from mft.transfers.remotes.sftp_content import receive_content, send_content
from mft.transfers.remotes.sftp_errors import FAILURES, reason, translated
from mft.transfers.remotes.sftp_exchange import Exchange, Request, open_exchange
from mft.transfers.remotes.sftp_wire import Answer, Code, Flag, Kind, Refused

T = TypeVar("T")

_ROOM_BYTES_MIN = 1024 * 1024
"""A disk with less room than this counts as full when a write fails."""
_FULL = ("no space left", "quota exceeded", "disk full")
"""How servers put it that have no code for it."""
_HASHED_BYTES_S = 8 * 1024 * 1024
"""As much as servers hash in a second, at least, so that they answer in time."""
_OPEN_MAX = 30
"""Files open at one time on a channel of a server that is not OpenSSH's: some allow no more than 64."""
_LISTINGS_AHEAD = 4
"""READDIR requests under way at a server that works in order: each answers with a hundred names or so."""


class SftpRemote:
    """One SSH connection with a few SFTP channels to the partner."""

    def __init__(self, spec: SftpLocationSpec, connection: asyncssh.SSHClientConnection, first: Exchange) -> None:
        self._spec = spec
        self._connection = connection
        self._channels = Channels(connection, first, spec.call_timeout_s)
        self.source_atomic = wire.POSIX_RENAME in first.extensions
        # OpenSSH's server does one request of a channel after the other.
        self._in_order = "OpenSSH" in str(connection.get_extra_info("server_version", ""))
        self._may_hash = not self._in_order

    @classmethod
    async def open(cls, spec: SftpLocationSpec) -> SftpRemote:
        """Connect, prove the partner's identity by its host key, log in and start SFTP.

        Raises:
            Denied: the host key is not one of the location's, or the partner or a proxy refuses the login.
            Invalid: the location cannot be right: an unreadable key, no algorithm in common, no SFTP there.
            Unavailable: it cannot be reached, or did not answer within `connect_timeout_s`.
        """
        where = f"{spec.username}@{spec.address}:{spec.port}"
        try:
            async with asyncio.timeout(spec.connect_timeout_s):
                connection = await connect(spec)
                try:
                    return cls(spec, connection, await open_exchange(connection, spec.call_timeout_s))
                except asyncssh.ChannelOpenError as error:
                    connection.abort()
                    message = f"{where} takes the login, but offers no SFTP: {reason(error)}"
                    raise Invalid(f'{message}; where it runs commands, `type = "scp"` helps') from error
                except BaseException:
                    connection.abort()
                    raise
        except FAILURES as error:
            raise Unavailable(f"cannot connect to {where}: {reason(error)}") from error

    async def scan(self, folder: str) -> AsyncIterator[Entry]:
        """Yield the folder's entries as the server sends them."""
        with self._translated("list", folder):
            exchange = await self._channels.pick()
            handle = await exchange.open(Kind.OPENDIR, wire.path(folder))
        try:
            is_end = False
            while not is_end:
                with self._translated("list", folder):
                    entries, is_end = await self._listed(exchange, handle)
                for entry in entries:
                    if entry.name not in (".", ".."):
                        yield entry
        finally:
            exchange.let_go(handle)

    async def lstat(self, path: str) -> Entry:
        """Say what stands under this name."""
        name = path.rpartition("/")[2]
        return await self._ask("look at", path, Kind.LSTAT, wire.path(path), partial(wire.attributes, name=name))

    async def rename(self, old: str, new: str) -> None:
        """Rename, replacing what stood there where the server offers posix-rename."""
        kind, body, _ = self._renaming(old, new)
        await self._ask("rename", old, kind, body, wire.status)

    async def remove(self, path: str) -> None:
        """Remove one file."""
        await self._ask("remove", path, Kind.REMOVE, wire.path(path), wire.status)

    async def sha256(self, path: str) -> str | None:
        """Have the server hash the file, where it can; not a very large one, over which it would seem to be silent.

        Servers that hash files often do not say so in their greeting, but OpenSSH's never does.
        """
        if not self._may_hash or (await self.lstat(path)).size_bytes > self._spec.call_timeout_s * _HASHED_BYTES_S:
            return None
        try:
            return await self._ask("hash", path, Kind.EXTENDED, wire.hashing(path), wire.hashed)
        except NotFound:
            raise
        except MftError:
            # It does not know the request, or answers in another form. If that ends the connection, the next call says.
            self._may_hash = False
            return None

    async def make_folder(self, path: str) -> None:
        """Make one folder unless it is there. Version 3 has no word for "exists", so a failure looks again."""
        try:
            await self._ask("make folder", path, Kind.MKDIR, wire.making(path), wire.status)
        except MftError as error:
            if not isinstance(error.__cause__, Refused) or not await self._is_folder(path):
                raise

    async def remove_folder(self, path: str) -> None:
        """Remove one folder if it is empty; version 3 answers a plain failure if it is not."""
        try:
            await self._ask("remove folder", path, Kind.RMDIR, wire.path(path), wire.status)
        except MftError as error:
            if not isinstance(error.__cause__, Refused) or error.__cause__.code != Code.FAILURE:
                raise

    @asynccontextmanager
    async def read(self, path: str, offset: int = 0) -> AsyncIterator[AsyncIterator[Content]]:
        """Open the file and give its content, piece by piece."""
        with self._translated("open", path):
            exchange = await self._channels.pick()
            handle = await exchange.open(Kind.OPEN, wire.opening(path, Flag.READ))
        try:
            async with aclosing(receive_content(exchange, handle, offset, in_order=self._in_order)) as pieces:
                yield self._pieces(pieces, path)
        finally:
            exchange.let_go(handle)

    async def write(self, path: str, content: AsyncIterator[Content], offset: int = 0) -> int:
        """Make a file of this content; synced where the server offers fsync."""
        flags = Flag.WRITE | (0 if offset else Flag.CREATE | Flag.EXCLUSIVE)
        with self._translated("create", path):
            exchange = await self._channels.pick()
            handle = await exchange.open(Kind.OPEN, wire.opening(path, flags))
        try:
            with self._translated("write", path):
                return await send_content(exchange, handle, content, offset, in_order=self._in_order)
        except MftError as error:
            raise await self._more_exactly(path, error) from error.__cause__

    async def write_whole(self, files: Sequence[tuple[str, bytes]]) -> list[int | None]:
        """Make small files on one channel, no more at one time than a server lets be open."""
        most = len(files) if self._in_order else _OPEN_MAX
        sizes: list[int | None] = []
        with self._translated("create", f"{len(files)} files"):
            exchange = await self._channels.pick()
            for start in range(0, len(files), most or 1):
                sizes += await send_whole(exchange, files[start : start + most], in_order=self._in_order)
        return sizes

    async def rename_all(self, names: Sequence[tuple[str, str]]) -> list[MftError | None]:
        """Rename files on one channel."""
        with self._translated("rename", f"{len(names)} files"):
            exchange = await self._channels.pick()
            answers = await exchange.ask([self._renaming(old, new) for old, new in names])
        return [self._refusal("rename", old, exchange, answer) for (old, _), answer in zip(names, answers, strict=True)]

    async def close(self) -> None:
        """Close the connection at once: whatever was under way fails."""
        self.abort()
        try:
            async with asyncio.timeout(1.0):
                await self._connection.wait_closed()
        except TimeoutError:
            pass

    def abort(self) -> None:
        """Close the connection without waiting for its end."""
        self._channels.close()
        self._connection.abort()

    def _renaming(self, old: str, new: str) -> Request:
        names = wire.path(old) + wire.path(new)
        if self.source_atomic:
            return Request(Kind.EXTENDED, wire.string(wire.POSIX_RENAME) + names)
        return Request(Kind.RENAME, names)

    def _refusal(self, doing: str, path: str, exchange: Exchange, answer: Answer) -> MftError | None:
        """Say why the server did not do it, if it did not. Raises `Unavailable` where its answer cannot be believed."""
        try:
            with self._translated(doing, path):
                exchange.taken(answer, wire.status)
        except Unavailable:
            raise
        except MftError as error:
            return error
        return None

    async def _ask(self, doing: str, path: str, kind: Kind, body: bytes, take: Callable[[Answer], T]) -> T:
        """Make one exchange with the server."""
        with self._translated(doing, path):
            exchange = await self._channels.pick()
            return await exchange.call(kind, body, take)

    async def _listed(self, exchange: Exchange, handle: bytes) -> tuple[list[Entry], bool]:
        """Ask for the next names, and whether that was the end: what answers who asks on is the server's affair."""
        asked = _LISTINGS_AHEAD if self._in_order else 1
        calls = [exchange.call(Kind.READDIR, wire.string(handle), wire.names) for _ in range(asked)]
        answers = await asyncio.gather(*calls)
        return [entry for entries in answers for entry in entries], not all(answers)

    async def _is_folder(self, path: str) -> bool:
        try:
            take = partial(wire.attributes, name="")
            return (await self._ask("look at", path, Kind.STAT, wire.path(path), take)).is_folder
        except NotFound:
            return False

    async def _pieces(self, pieces: AsyncIterator[Content], path: str) -> AsyncIterator[Content]:
        with self._translated("read", path):
            async for piece in pieces:
                yield piece

    async def _more_exactly(self, path: str, error: MftError) -> MftError:
        """Tell a full disk from another failure: version 3 has no code for it; some servers have words or numbers."""
        if not isinstance(error.__cause__, Refused) or error.__cause__.code != Code.FAILURE:
            return error
        if any(words in error.__cause__.reason.lower() for words in _FULL):
            return Exhausted(error.message)
        folder = path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")
        try:
            body = wire.string(wire.STATVFS) + wire.path(folder)
            room_bytes = await self._ask("look at", folder, Kind.EXTENDED, body, wire.room_bytes)
        except MftError:
            return error
        if room_bytes >= _ROOM_BYTES_MIN:
            return error
        return Exhausted(f"{error.message} (its disk is full)")

    def _translated(self, doing: str, path: str) -> AbstractContextManager[None]:
        return translated(doing, path, f"{self._spec.address}:{self._spec.port}")
