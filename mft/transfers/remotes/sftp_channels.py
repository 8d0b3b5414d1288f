"""Several SFTP channels on one SSH connection, each a serving process of its own at the partner.

A server works off one channel strictly in order, so a sync that waits for a disk holds up every other file behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh

CHANNELS_MAX = 8
"""OpenSSH allows ten on a connection by default."""


class Channels:
    """The channels of one connection; more are opened as work comes, fewer kept where the server allows fewer."""

    def __init__(self, connection: asyncssh.SSHClientConnection, first: asyncssh.SFTPClient) -> None:
        self._connection = connection
        self._busy: dict[asyncssh.SFTPClient, int] = {first: 0}
        self._most = CHANNELS_MAX
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """Give the channel with the least to do, for as long as the block lasts; it is shared."""
        sftp = self._idlest()
        if self._busy[sftp] and len(self._busy) < self._most and not self._opening.locked():
            async with self._opening:
                sftp = await self._another() or self._idlest()
        self._busy[sftp] += 1
        try:
            yield sftp
        finally:
            self._busy[sftp] -= 1

    def _idlest(self) -> asyncssh.SFTPClient:
        return min(self._busy, key=lambda sftp: self._busy[sftp])

    async def _another(self) -> asyncssh.SFTPClient | None:
        """Open one more channel; None where the server refuses, and then it is not asked again."""
        try:
            sftp = await self._connection.start_sftp_client()
        except asyncssh.ChannelOpenError:
            self._most = len(self._busy)
            return None
        self._busy[sftp] = 0
        return sftp
