"""Several SFTP channels on one SSH connection, each a serving process of its own at the partner.

A server works off one channel strictly in order, so a sync that waits for a disk holds up every other file behind it.
But requests that leave together cost least on one channel. So the first channels are filled before the next are used.
"""

from __future__ import annotations

import asyncio

import asyncssh

from mft.errors import Unavailable
from mft.transfers.remotes.sftp_errors import reason
from mft.transfers.remotes.sftp_exchange import Exchange, Lost, open_exchange
from mft.transfers.remotes.sftp_wire import Garbled

CHANNELS_MAX = 8
"""OpenSSH allows ten on a connection by default."""
_FULL_REQUESTS = 48
_FULL_BYTES = 256 * 1024
_SLOW_S = 0.01
"""A channel whose oldest request has waited so long may be waiting for a disk."""
_CANCELLED_S_MAX = 1.0
"""How long a cancelled opening is waited for."""


class Channels:
    """The channels of one connection; more are opened as work comes, fewer kept where the server allows fewer."""

    def __init__(self, connection: asyncssh.SSHClientConnection, first: Exchange, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self._channels = [first]
        self._most = CHANNELS_MAX
        self._opening = asyncio.Lock()

    async def pick(self) -> Exchange:
        """Give the first channel that has little to do, else one more, else the one with the least to do."""
        for exchange in self._channels:
            if not _is_busy(exchange):
                return exchange
        if len(self._channels) < self._most and not self._opening.locked():
            async with self._opening:
                if (another := await self._another()) is not None:
                    return another
        return min(self._channels, key=lambda exchange: (exchange.unanswered_bytes, exchange.unanswered))

    def close(self) -> None:
        """Fail all that is under way."""
        for exchange in self._channels:
            exchange.close()

    async def _another(self) -> Exchange | None:
        """Open one more channel; None where the server refuses or is late, and then it is not asked again.

        On a slow road the opening stands behind the content of other files, and nothing is wrong with those.
        """
        opened = await self._opened()
        is_late = isinstance(opened, TimeoutError) and any(exchange.is_open for exchange in self._channels)
        if is_late or isinstance(opened, asyncssh.ChannelOpenError):
            self._most = len(self._channels)
            return None
        if isinstance(opened, Exception):
            raise Unavailable(f"cannot open one more channel to the partner: {reason(opened)}") from opened
        self._channels.append(opened)
        return opened

    async def _opened(self) -> Exchange | Exception:
        """Open a channel. If that is cancelled, it is closed as soon as it is open: the server counts it till then."""
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(self._open(), name="open-channel")
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:
                await asyncio.wait([opening], timeout=_CANCELLED_S_MAX)
                if opening.done() and isinstance(opened := opening.result(), Exchange):
                    opened.close()
                raise

    async def _open(self) -> Exchange | Exception:
        try:
            async with asyncio.timeout(self._limit_s):
                return await open_exchange(self._connection, self._limit_s)
        except (asyncssh.Error, OSError, TimeoutError, Lost, Garbled) as error:
            return error


def _is_busy(exchange: Exchange) -> bool:
    return (
        exchange.unanswered >= _FULL_REQUESTS
        or exchange.unanswered_bytes >= _FULL_BYTES
        or exchange.silent_s() > _SLOW_S
    )
