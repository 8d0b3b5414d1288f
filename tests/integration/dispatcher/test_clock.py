"""What the clock brings while a leader lives: a window closes, a period ends; and days on which nothing opens."""

from __future__ import annotations

import math
import struct
import time
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from mft.events import catalogue
from mft.model.starts import CalendarSpec, StartSpec
from mft.model.transfer_parts import ExpectSpec
from tests.integration.dispatcher.conftest import Field, Pass, Ran
from tests.rig.waiting import eventually

Noon = Callable[[float], str]


@pytest.fixture
def noon(tmp_path: Path) -> Iterator[Noon]:
    """Give what makes a time zone whose clocks show noon at a moment, and names it.

    Windows close with the minute. Few zones have clocks that differ by seconds, so this one is made: a file of its own
    on the search path (RFC 8536: no changes, one type), and no test waits for a minute to end.
    """

    def make(at: float) -> str:
        offset_s = 12 * 3600 - round(at) % 86400
        counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
        content = b"TZif" + bytes(16) + counts + struct.pack(">lbb", offset_s, 0, 0) + b"TST\0"
        name = f"Noon{round(at)}"
        (tmp_path / name).write_bytes(content)
        return name

    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[str(tmp_path), *before])
    yield make
    zoneinfo.reset_tzpath(to=before)


async def test_a_window_that_closes_asks_the_pass_to_end(field: Field, noon: Noon) -> None:
    """Goal: a pass takes nothing new once its window is closed, and is not cut off. Method: noon is in two seconds.

    For one transfer the next window opens at that very moment: its pass goes on as it is.
    """
    field.set(v={})
    async with field.node("n1") as node:
        await eventually(lambda: field.made("v") == 1)
        closes = math.ceil(time.time()) + 2.0  # Only now, so that no busy machine spends them on the election.

        async def until_closed(made: Pass) -> Ran:
            await eventually(lambda: made.ending.asked if made.transfer == "t" else time.time() > closes + 0.5)
            return Ran(delivered=1)

        field.work = until_closed
        windows, zone = ("00:00-12:00", "12:00-24:00"), noon(closes)
        field.set(
            t={"start": StartSpec(windows=windows[:1], time_zone=zone)},
            u={"start": StartSpec(windows=windows, time_zone=zone)},
        )
        await eventually(lambda: field.made() == 1 and field.made("u") == 1)
        assert time.time() < closes, "it began too late for this test"
        await eventually(lambda: node.status("t").state == "outside-window")
        assert time.time() >= closes - 0.1
        assert node.status("t").delivered == 1
        await eventually(lambda: node.status("u").delivered == 1 and node.status("u").state == "idle")
    told = [(made.transfer, made.finish, made.ending.asked) for made in field.passes if made.transfer != "v"]
    assert sorted(told) == [("t", False, True), ("u", False, False)]


async def test_too_few_files_are_told_while_the_leader_lives(field: Field) -> None:
    """Goal: nobody waits for a failover to learn of it. Method: periods of two seconds, in which nothing comes.

    The transfer itself sleeps for an hour meanwhile.
    """
    field.set(t={"expect": ExpectSpec(files_min=3, within_s=2.0)})
    async with field.node("n1") as node:
        await eventually(lambda: field.told(catalogue.TOO_FEW_FILES))
        assert node.status().state == "idle"
        first = field.told(catalogue.TOO_FEW_FILES)[0]
        assert (first["files"], first["files_min"]) == (0, 3)
        assert field.made() == 1
        await eventually(lambda: len(field.told(catalogue.TOO_FEW_FILES)) >= 2)
    begins = [told["begin"] for told in field.told(catalogue.TOO_FEW_FILES)]
    assert len(set(begins)) == len(begins), "a period is told once"


async def test_a_calendar_reaches_a_dispatcher(field: Field) -> None:
    """Goal: nothing begins on a holiday, and a calendar that changes counts at once. Method: today is one, then not."""
    today = datetime.now(UTC).date()
    days = tuple((today + timedelta(days=ahead)).isoformat() for ahead in range(-1, 2))  # It may be midnight soon.
    field.set(t={"start": StartSpec(calendars=("c",))})
    field.config.set(replace(field.config.value, calendars={"c": CalendarSpec(days=days)}))
    async with field.node("n1") as node:
        await node.leads()
        await eventually(lambda: node.status().state == "outside-window")
        at = node.status().next_pass_at
        assert at is not None
        assert datetime.fromtimestamp(at, UTC).date() == today + timedelta(days=2)
        assert field.made() == 0
        field.config.set(replace(field.config.value, calendars={"c": CalendarSpec(days=("2020-02-02",))}))
        await eventually(lambda: field.made() == 1 and node.status().state == "idle")
