"""Several SFTP channels on one SSH connection, each a serving process of its own at the partner.

A server works off one channel strictly in order, so a sync that waits for a disk holds up every other file behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh

from mft.errors import Unavailable
from mft.transfers.remotes.sftp_errors import reason

CHANNELS_MAX = 8
"""OpenSSH allows ten on a connection by default."""
_CANCELLED_S_MAX = 1.0
"""How long a cancelled opening is waited for."""


class Channels:
    """The channels of one connection; more are opened as work comes, fewer kept where the server allows fewer."""

    def __init__(self, connection: asyncssh.SSHClientConnection, first: asyncssh.SFTPClient, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self._busy: dict[asyncssh.SFTPClient, int] = {first: 0}
        self._retired: set[asyncssh.SFTPClient] = set()
        self._most = CHANNELS_MAX
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """Give the channel with the least to do, for as long as the block lasts; it is shared.

        A cancelled block may have asked for a handle that nobody will know. Its channel takes no further work and ends
        with what it has, and with it all that is open there.
        """
        sftp = self._idlest()
        is_busy = self._busy[sftp] > 0 or sftp in self._retired
        if is_busy and len(self._busy) < self._most and not self._opening.locked():
            async with self._opening:
                sftp = await self._another() or self._idlest()
        self._busy[sftp] += 1
        try:
            yield sftp
        except asyncio.CancelledError:
            self._retired.add(sftp)
            self._most = CHANNELS_MAX  # Another is needed in its place, whatever was refused before.
            raise
        finally:
            self._busy[sftp] -= 1
            self._end_retired()

    def _end_retired(self) -> None:
        """End retired channels that have nothing to do; the very last stays until there is another."""
        for sftp in [sftp for sftp in self._retired if not self._busy[sftp]]:
            if len(self._busy) > 1:
                del self._busy[sftp]
                self._retired.discard(sftp)
                sftp.exit()

    def _idlest(self) -> asyncssh.SFTPClient:
        return min(self._busy, key=lambda sftp: (sftp in self._retired, self._busy[sftp]))

    async def _another(self) -> asyncssh.SFTPClient | None:
        """Open one more channel; None where the server refuses; as a rule it is not asked again."""
        opened = await self._opened()
        if isinstance(opened, asyncssh.ChannelOpenError):
            if not self._retired:  # Else it may be only that the server has not yet ended the ones given up.
                self._most = len(self._busy)
            return None
        if isinstance(opened, Exception):
            raise Unavailable(f"cannot open one more channel to the partner: {reason(opened)}") from opened
        self._busy[opened] = 0
        return opened

    async def _opened(self) -> asyncssh.SFTPClient | Exception:
        """Open a channel. If that is cancelled, it is closed as soon as it is open: the server counts it till then."""
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(self._open(), name="open-channel")
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:
                await asyncio.wait([opening], timeout=_CANCELLED_S_MAX)
                if opening.done() and isinstance(opened := opening.result(), asyncssh.SFTPClient):
                    opened.exit()
                raise

    async def _open(self) -> asyncssh.SFTPClient | Exception:
        try:
            async with asyncio.timeout(self._limit_s):
                return await start_sftp(self._connection)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            return error


async def start_sftp(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    """Start SFTP on a channel of its own. Names are bytes to the server: those that are no UTF-8 survive as well."""
    return await connection.start_sftp_client(path_encoding="utf-8", path_errors="surrogateescape")
