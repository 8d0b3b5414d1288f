"""A partner's SFTP server, as a remote. Source: draft-ietf-secsh-filexfer-02 (version 3), OpenSSH's PROTOCOL file."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncssh

from mft.errors import Denied, Exhausted, Invalid, MftError, NotFound, Unavailable
from mft.model.locations import SftpLocationSpec
from mft.transfers.remotes.base import CHUNK_BYTES, Entry
from mft.transfers.remotes.host_keys import HostKeyClient, split_host_keys
from mft.transfers.remotes.sftp_channels import Channels

_KEEPALIVE_S = 15
_KEEPALIVES_MISSED_MAX = 3
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
        self._channels = Channels(connection, sftp)
        self.source_atomic = source_atomic
        self._offers_fsync = True

    @classmethod
    async def open(cls, spec: SftpLocationSpec) -> SftpRemote:
        """Connect, prove the partner's identity by its host key, log in and start SFTP.

        Raises:
            Denied: the host key is not one of the location's, or the partner refuses the login.
            Unavailable: it cannot be reached, or did not answer within `connect_timeout_s`.
        """
        where = f"{spec.username}@{spec.address}:{spec.port}"
        try:
            async with asyncio.timeout(spec.connect_timeout_s):
                connection = await asyncssh.connect(spec.address, spec.port, **_options(spec))
                try:
                    sftp = await connection.start_sftp_client()
                    return cls(spec, connection, sftp, await _offers_posix_rename(sftp))
                except BaseException:
                    connection.abort()
                    raise
        except asyncssh.HostKeyNotVerifiable as error:
            raise Denied(f"{where} shows a host key that is not among the location's host_keys") from error
        except asyncssh.PermissionDenied as error:
            raise Denied(f"{where} refuses the login: {error.reason}") from error
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise Unavailable(f"cannot connect to {where}: {_reason(error)}") from error

    async def scan(self, folder: str) -> AsyncIterator[Entry]:
        """Yield the folder's entries as the server sends them."""
        with self._translated("list", folder):
            async with self._channels.use() as sftp:
                async for name in sftp.scandir(folder):
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
    async def read(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the file and give its content, piece by piece."""
        async with self._channels.use() as sftp:
            async with self._bounded("open", path):
                file = await sftp.open(path, "rb")
            try:
                yield self._pieces(file, path)
            finally:
                await self._close_file(file)

    async def write(self, path: str, content: AsyncIterator[bytes]) -> int:
        """Make a new file of this content; synced where the server offers fsync."""
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL
        async with self._channels.use() as sftp:
            async with self._bounded("create", path):
                file = await sftp.open(path, flags, encoding=None)
            try:
                size_bytes = await self._write_pieces(file, path, content)
                await self._sync(file, path)
            except BaseException:
                await self._close_file(file)
                raise
            async with self._bounded("close", path):
                await file.close()
        return size_bytes

    async def _write_pieces(self, file: asyncssh.SFTPClientFile, path: str, content: AsyncIterator[bytes]) -> int:
        size_bytes = 0
        async for piece in content:
            async with self._bounded("write", path):
                await file.write(piece, size_bytes)
            size_bytes += len(piece)
        return size_bytes

    async def close(self) -> None:
        """Close the connection at once: whatever was under way fails."""
        self._connection.abort()
        try:
            async with asyncio.timeout(1.0):
                await self._connection.wait_closed()
        except TimeoutError:
            pass

    async def _pieces(self, file: asyncssh.SFTPClientFile, path: str) -> AsyncIterator[bytes]:
        offset = 0
        while True:
            async with self._bounded("read", path):
                piece = await file.read(CHUNK_BYTES, offset)
            if not piece:
                return
            assert isinstance(piece, bytes)
            offset += len(piece)
            yield piece

    async def _sync(self, file: asyncssh.SFTPClientFile, path: str) -> None:
        """Ask for stable storage; a server that does not know the word is asked once."""
        if not self._offers_fsync:
            return
        try:
            async with self._bounded("sync", path):
                await file.fsync()
        except MftError as error:
            if not isinstance(error.__cause__, asyncssh.SFTPOpUnsupported):
                raise
            self._offers_fsync = False

    async def _close_file(self, file: asyncssh.SFTPClientFile) -> None:
        """Close a handle whose content no longer matters; a dead connection has closed it already."""
        try:
            async with asyncio.timeout(self._spec.call_timeout_s):
                await file.close()
        except (asyncssh.Error, OSError, TimeoutError):
            pass

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

    @contextmanager
    def _translated(self, doing: str, path: str) -> Iterator[None]:
        try:
            yield
        except (asyncssh.Error, OSError, TimeoutError) as error:
            where = f"{self._spec.address}:{self._spec.port}"
            raise _error_class(error)(f"cannot {doing} {path} at {where}: {_reason(error)}") from error


async def _offers_posix_rename(sftp: asyncssh.SFTPClient) -> bool:
    try:
        await sftp.posix_rename(_NOWHERE, _NOWHERE)
    except asyncssh.SFTPOpUnsupported:
        return False
    except asyncssh.SFTPError:
        pass
    return True


def _options(spec: SftpLocationSpec) -> dict[str, object]:
    trusted, fingerprints = split_host_keys(spec.host_keys)
    try:
        keys = [asyncssh.import_private_key(spec.private_key)] if spec.private_key else []
    except asyncssh.KeyImportError as error:
        raise Invalid(f"the private key for {spec.username}@{spec.address} cannot be read: {error}") from error
    return {
        "username": spec.username,
        "password": spec.password,
        "client_keys": keys or None,
        # Only the location's own words count: no agent, no ~/.ssh, no host-based trust of the machine.
        "agent_path": None,
        "config": None,
        # Never an empty value here: asyncssh would take ~/.ssh/known_hosts instead.
        "known_hosts": (trusted, [], []),
        "client_factory": lambda: HostKeyClient(fingerprints),
        "keepalive_interval": _KEEPALIVE_S,
        "keepalive_count_max": _KEEPALIVES_MISSED_MAX,
        "x509_trusted_certs": None,
    }


def _entry(name: str, attrs: asyncssh.SFTPAttrs) -> Entry:
    mode = attrs.permissions or 0
    return Entry(name, attrs.size or 0, float(attrs.mtime or 0), stat.S_ISREG(mode), stat.S_ISDIR(mode))


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "reason", "") or str(error) or type(error).__name__


def _error_class(error: BaseException) -> type[MftError]:
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
