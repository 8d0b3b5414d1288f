"""A real etcd with a small quota that fills, is full, and has room again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mft.agent.etcd_room import EtcdRoom, Room
from mft.aio import Latest
from mft.errors import Exhausted
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.events import catalogue
from mft.model.config import Config
from mft.model.server import ServerSpec
from tests.rig.etcd import PATIENT
from tests.rig.etcd_cluster import Member
from tests.rig.waiting import eventually

QUOTA_BYTES = 64 * 1024**2
"""So much that what etcd writes beside the values cannot fill what is left of it."""
PIECE_BYTES = 500_000


async def test_an_etcd_that_fills_is_told_before_it_is_full(tmp_path: Path) -> None:
    """Goal: operators learn of it in time, once, from who speaks, and of its end. Method: fill it; make room."""
    member = Member(tmp_path / "etcd")
    member.option("--quota-backend-bytes", str(QUOTA_BYTES))
    events: list[tuple[int, dict[str, Any]]] = []
    config = Latest(Config(server=ServerSpec(etcd_quota_bytes=QUOTA_BYTES)))
    speaks = False

    def told() -> list[int]:
        return [event for event, _ in events]

    async with EtcdClient([member.endpoint], times=PATIENT) as client:
        room = EtcdRoom(client, config, lambda: speaks, lambda *event: events.append(event), look_s=0.05)
        try:
            await member.start()
            async with beside(room.run(), name="room"):
                await eventually(lambda: room.room.size_bytes > 0)
                for number in range(round(0.85 * QUOTA_BYTES / PIECE_BYTES)):
                    await client.kv.put(f"/fill/{number}", bytes(PIECE_BYTES))
                await eventually(lambda: room.room.share >= 0.8)
                assert room.room.level == "fills"
                assert told() == []
                speaks = True
                await eventually(lambda: told() == [catalogue.ETCD_FILLS])
                with pytest.raises(Exhausted):
                    await _fill(client)
                await eventually(lambda: told() == [catalogue.ETCD_FILLS, catalogue.ETCD_FULL])
                await client.kv.delete_prefix("/fill/")
                revision = json.loads(await member.ctl("endpoint", "status", "-w", "json"))[0]["Status"]["header"][
                    "revision"
                ]
                await member.ctl("compact", "--physical", str(revision))
                await member.ctl("defrag")
                await member.ctl("alarm", "disarm")
                await eventually(lambda: told()[2:] == [catalogue.ETCD_HAS_ROOM])
        finally:
            member.kill()
    assert 80 <= events[0][1]["percent"] < 110
    assert events[0][1]["quota_bytes"] == QUOTA_BYTES


async def _fill(client: EtcdClient) -> None:
    for number in range(100):
        await client.kv.put(f"/fill/more{number}", bytes(PIECE_BYTES))


@pytest.mark.parametrize(
    ("room", "level"),
    [
        (Room(), "fine"),
        (Room(79, 1, 100), "fine"),
        (Room(80, 1, 100), "fills"),
        (Room(1, 1, 100, is_alarmed=True), "full"),
    ],
)
def test_levels(room: Room, level: str) -> None:
    """Goal: from 80 % on somebody should look, an alarm is an alarm. Method: the table."""
    assert room.level == level
