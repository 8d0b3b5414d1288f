"""What this instance says of itself in etcd: that it is there (leased), and which version it runs (not leased)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from mft.aio import Latest
from mft.cluster.keys import Keys
from mft.cluster.membership import Ack, Alive, encode
from mft.errors import MftError
from mft.etcd.keeper import LeaseKeeper
from mft.etcd.kv import Kv

_AGAIN_S = 5.0
"""How often what stands in etcd is compared with what should."""


class Presence:
    """Writes this instance's two keys whenever what they should say differs from what was written."""

    def __init__(
        self,
        kv: Kv,
        keys: Keys,
        keeper: LeaseKeeper,
        alive: Callable[[], Alive],
        ack: Latest[Ack],
    ) -> None:
        self._kv = kv
        self._keys = keys
        self._keeper = keeper
        self._alive = alive
        self._ack = ack
        self._wake = Latest(0)
        self._log = structlog.get_logger()

    def wake(self) -> None:
        """Look again now: something of what is told here may have changed."""
        self._wake.set(self._wake.value + 1)

    async def run(self) -> None:
        """Keep both keys true, until cancelled. The leased one goes with the lease."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._say_alive(), name="presence:alive")
            tasks.create_task(self._say_ack(), name="presence:ack")
            async for _ in self._keeper.state.follow():
                self.wake()

    async def _say_alive(self) -> None:
        written: tuple[int, Alive] | None = None
        async for _ in self._wake.follow(every_s=_AGAIN_S):
            lease, alive = self._keeper.state.value.lease_id, self._alive()
            if not lease or written == (lease, alive):
                continue
            try:
                await self._kv.put(self._keys.alive(alive.name), encode(alive), lease=lease, idempotent=True)
                written = (lease, alive)
            except MftError as error:
                self._log.debug("presence cannot be written", reason=str(error))

    async def _say_ack(self) -> None:
        written: Ack | None = None
        async for ack in self._ack.follow(every_s=_AGAIN_S):
            if ack in (written, Ack()):
                continue
            try:
                await self._kv.put(self._keys.ack(self._alive().name), encode(ack), idempotent=True)
                written = ack
            except MftError as error:
                self._log.debug("acknowledgement cannot be written", reason=str(error))
