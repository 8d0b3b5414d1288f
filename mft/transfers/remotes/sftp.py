"""A partner's SFTP server, as a remote. Source: draft-ietf-secsh-filexfer-02 (version 3), OpenSSH's PROTOCOL file."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from typing import cast

import asyncssh

from mft.errors import Exhausted, Invalid, MftError, Unavailable
from mft.model.locations import SftpLocationSpec
from mft.transfers.remotes.base import Entry
from mft.transfers.remotes.sftp_channels import Channels, start_sftp
from mft.transfers.remotes.sftp_connect import connect
from mft.transfers.remotes.sftp_content import Handle, receive_content, send_content
from mft.transfers.remotes.sftp_errors import reason, translated

_ROOM_BYTES_MIN = 1024 * 1024
"""A disk with less room than this counts as full when a write fails."""
_NOWHERE = "/.mft-no-such-file"
"""Renamed to itself to learn whether the server offers posix-rename: asyncssh says so before it sends anything."""


class SftpRemote:
    """One SSH connection with one SFTP channel to the partner."""

    def __init__(
        self,
        spec: SftpLocationSpec,
        connection: asyncssh.SSHClientConnection,
        sftp: asyncssh.SFTPClient,
        source_atomic: bool,
    ) -> None:
        self._spec = spec
        self._connection = connection
        self._channels = Channels(connection, sftp, spec.call_timeout_s)
        self.source_atomic = source_atomic
        # OpenSSH's server does one request of a channel after the other.
        self._in_order = "OpenSSH" in str(connection.get_extra_info("server_version", ""))

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
                    sftp = await start_sftp(connection)
                    return cls(spec, connection, sftp, await _offers_posix_rename(sftp))
                except asyncssh.ChannelOpenError as error:
                    raise Invalid(f"{where} takes the login, but offers no SFTP: {reason(error)}") from error
                except BaseException:
                    connection.abort()
                    raise
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise Unavailable(f"cannot connect to {where}: {reason(error)}") from error

    async def scan(self, folder: str) -> AsyncIterator[Entry]:
        """Yield the folder's entries as the server sends them."""
        async with self._channels.use() as sftp, aclosing(_names(sftp, folder)) as names:
            while True:
                async with self._bounded("list", folder):
                    name = await anext(names, None)
                if name is None:
                    return
                if name.filename not in (".", ".."):
                    yield _entry(str(name.filename), name.attrs)

    async def lstat(self, path: str) -> Entry:
        """Say what stands under this name."""
        async with self._call("look at", path) as sftp:
            return _entry(path.rpartition("/")[2], await sftp.lstat(path))

    async def rename(self, old: str, new: str) -> None:
        """Rename, replacing what stood there where the server offers posix-rename."""
        async with self._call("rename", old) as sftp:
            if self.source_atomic:
                await sftp.posix_rename(old, new)
            else:
                await sftp.rename(old, new)

    async def remove(self, path: str) -> None:
        """Remove one file."""
        async with self._call("remove", path) as sftp:
            await sftp.remove(path)

    async def sha256(self, path: str) -> None:
        """OpenSSH's server hashes nothing."""

    async def make_folder(self, path: str) -> None:
        """Make one folder unless it is there. Version 3 has no word for "exists", so a failure looks again."""
        async with self._call("make folder", path) as sftp:
            try:
                await sftp.mkdir(path)
            except asyncssh.SFTPError:
                if not await sftp.isdir(path):
                    raise

    async def remove_folder(self, path: str) -> None:
        """Remove one folder if it is empty; version 3 answers a plain failure if it is not."""
        async with self._call("remove folder", path) as sftp:
            try:
                await sftp.rmdir(path)
            except asyncssh.SFTPFailure:
                pass

    @asynccontextmanager
    async def read(self, path: str, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the file and give its content, piece by piece."""
        async with self._channels.use() as sftp:
            handle = await self._open(sftp, path, "open", asyncssh.FXF_READ)
            try:
                async with receive_content(handle, self._spec.call_timeout_s, offset) as pieces:
                    yield self._pieces(pieces, path)
            finally:
                await self._let_go(handle)

    async def write(self, path: str, content: AsyncIterator[bytes], offset: int = 0) -> int:
        """Make a file of this content; synced where the server offers fsync."""
        flags = asyncssh.FXF_WRITE | (0 if offset else asyncssh.FXF_CREAT | asyncssh.FXF_EXCL)
        async with self._channels.use() as sftp:
            handle = await self._open(sftp, path, "create", flags)
            try:
                with self._translated("write", path):
                    return await send_content(handle, content, self._spec.call_timeout_s, offset)
            except MftError as error:
                raise await self._more_exactly(sftp, path, error) from error.__cause__
            finally:
                if handle.is_open:
                    await self._let_go(handle)

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
        self._connection.abort()

    async def _open(self, sftp: asyncssh.SFTPClient, path: str, doing: str, flags: int) -> Handle:
        async with self._bounded(doing, path):
            file = await sftp.open(path, flags, encoding=None)
            return Handle(sftp, file, in_order=self._in_order)

    async def _pieces(self, pieces: AsyncIterator[bytes], path: str) -> AsyncIterator[bytes]:
        with self._translated("read", path):
            async for piece in pieces:
                yield piece

    async def _let_go(self, handle: Handle) -> None:
        """Close a handle whose content no longer matters; a dead connection has closed it already."""
        try:
            async with asyncio.timeout(self._spec.call_timeout_s):
                await handle.close()
        except (asyncssh.Error, OSError, TimeoutError):
            pass

    async def _more_exactly(self, sftp: asyncssh.SFTPClient, path: str, error: MftError) -> MftError:
        """Tell a full disk from another failure: version 3 has no word for it, but some servers tell the room left."""
        if not isinstance(error.__cause__, asyncssh.SFTPFailure):
            return error
        try:
            async with asyncio.timeout(self._spec.call_timeout_s):
                room = await sftp.statvfs(path.rpartition("/")[0] or ("/" if path.startswith("/") else "."))
        except (asyncssh.Error, OSError, TimeoutError):
            return error
        if room.bavail * room.frsize >= _ROOM_BYTES_MIN:
            return error
        return Exhausted(f"{error.message} (its disk is full)")

    @asynccontextmanager
    async def _call(self, doing: str, path: str) -> AsyncIterator[asyncssh.SFTPClient]:
        """Give a channel for one exchange with the server, bounded, its errors translated."""
        async with self._bounded(doing, path), self._channels.use() as sftp:
            yield sftp

    @asynccontextmanager
    async def _bounded(self, doing: str, path: str) -> AsyncIterator[None]:
        """Bound one exchange on a channel that is held already, and translate its errors."""
        with self._translated(doing, path):
            async with asyncio.timeout(self._spec.call_timeout_s):
                yield

    def _translated(self, doing: str, path: str) -> AbstractContextManager[None]:
        return translated(doing, path, f"{self._spec.address}:{self._spec.port}")


def _names(sftp: asyncssh.SFTPClient, folder: str) -> AsyncGenerator[asyncssh.SFTPName, None]:
    return cast(AsyncGenerator[asyncssh.SFTPName, None], sftp.scandir(folder))


async def _offers_posix_rename(sftp: asyncssh.SFTPClient) -> bool:
    try:
        await sftp.posix_rename(_NOWHERE, _NOWHERE)
    except asyncssh.SFTPOpUnsupported:
        return False
    except asyncssh.SFTPError:
        pass
    return True


def _entry(name: str, attrs: asyncssh.SFTPAttrs) -> Entry:
    mode = attrs.permissions or 0
    return Entry(name, attrs.size or 0, float(attrs.mtime or 0), stat.S_ISREG(mode), stat.S_ISDIR(mode))
