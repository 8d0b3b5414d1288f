"""How full etcd is. A full one takes no write and grants no lease: whoever leads then ends, and nobody else can begin.

Source: etcd's operations guide, *Space quota*: the size of the file counts, also what is free in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import structlog

from mft.aio import Latest, boottime
from mft.errors import MftError
from mft.etcd.client import EtcdClient
from mft.events import catalogue
from mft.model.config import Config

LOOK_S = 60.0
_FILLS_SHARE = 0.8
_TELL_AGAIN_S = 3600.0

Level = Literal["fine", "fills", "full"]


class Room(NamedTuple):
    """What the fullest member has."""

    size_bytes: int = 0
    """0: not known yet."""
    used_bytes: int = 0
    """Of that; the rest comes free when the member is defragmented."""
    quota_bytes: int = 1
    is_alarmed: bool = False
    """Whether a member refuses writes."""

    @property
    def share(self) -> float:
        """Share of the quota that is taken; from 1 on it refuses writes."""
        return self.size_bytes / self.quota_bytes

    @property
    def level(self) -> Level:
        """Whether somebody should look at it."""
        if self.is_alarmed:
            return "full"
        return "fills" if self.share >= _FILLS_SHARE else "fine"


class EtcdRoom:
    """Looks at all members by the clock and tells people, if this instance is to speak for all."""

    def __init__(
        self,
        etcd: EtcdClient,
        config: Latest[Config],
        speaks: Callable[[], bool],
        emit: Callable[[int, dict[str, Any]], None],
        *,
        look_s: float = LOOK_S,
    ) -> None:
        self._etcd = etcd
        self._config = config
        self._speaks = speaks
        self._emit = emit
        self._look_s = look_s
        self._told: Level = "fine"
        self._told_at = 0.0
        self.room = Room()
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                self.room = await self._measure()
            except MftError as error:
                self._log.debug("how full etcd is cannot be seen", reason=str(error))
            else:
                if self._speaks():
                    self._tell(self.room, boottime())
            await asyncio.sleep(self._look_s)

    async def _measure(self) -> Room:
        quota_bytes = self._config.value.server.etcd_quota_bytes
        is_alarmed = any(alarm.kind == "NOSPACE" for alarm in await self._etcd.servers.alarms())
        fullest = Room(quota_bytes=quota_bytes, is_alarmed=is_alarmed)
        for target in self._etcd.endpoints.targets:
            try:
                status = await self._etcd.servers.status(target)
            except MftError:
                continue  # One that is away is told of elsewhere; those that are there count.
            if status.size_bytes > fullest.size_bytes:
                fullest = Room(status.size_bytes, status.used_bytes, quota_bytes, is_alarmed)
        return fullest

    def _tell(self, room: Room, now: float) -> None:
        level = room.level
        if level == self._told and (level == "fine" or now - self._told_at < _TELL_AGAIN_S):
            return
        self._told, self._told_at = level, now
        fields = {
            "percent": round(100 * room.share),
            "size_bytes": room.size_bytes,
            "used_bytes": room.used_bytes,
            "quota_bytes": room.quota_bytes,
        }
        events = {"fine": catalogue.ETCD_HAS_ROOM, "fills": catalogue.ETCD_FILLS, "full": catalogue.ETCD_FULL}
        self._emit(events[level], fields)
