"""Schedules through failovers: no slot is lost, none is begun twice, and what was missed shows."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from mft.events import catalogue
from mft.model.delivery import Record
from mft.model.starts import StartSpec
from mft.model.timetable import timetable_of
from mft.model.transfer_parts import RetrySpec
from mft.transfers.starting import SlotState
from tests.integration.dispatcher.conftest import Field, Pass, Ran
from tests.rig.waiting import eventually


async def state(field: Field, transfer: str = "t") -> SlotState:
    """Read how far a schedule is."""
    value = (await field.client.kv.get(field.keys.schedule(transfer))).value
    return json.decode(value, type=SlotState) if value else SlotState()


async def leave(field: Field, start: StartSpec, **fields: Any) -> None:
    """Have a schedule in etcd as a leader has left it."""
    left = SlotState(mark=timetable_of(start, {}).mark, **fields)
    await field.client.kv.put(field.keys.schedule("t"), json.encode(left))


def hourly(**fields: Any) -> StartSpec:
    """Start half an hour before and after now, so that nothing comes while a test runs."""
    minute = (datetime.now(UTC) + timedelta(minutes=30)).minute
    return StartSpec(cron=(f"{minute} * * * *",), **fields)


async def test_a_schedule_begins_when_it_is_set(field: Field) -> None:
    """Goal: a new schedule has missed nothing, and makes no pass before its time. Method: set it, and change it."""
    field.set(t={"start": hourly()})
    async with field.node("n1") as node:
        await eventually(lambda: field.told(catalogue.SCHEDULE_SET))
        status = node.status()
        assert status.next_pass_at is not None
        assert 25 * 60 < status.next_pass_at - time.time() < 35 * 60
        field.set(t={"start": replace(hourly(), time_zone="Asia/Kathmandu")})
        await eventually(lambda: len(field.told(catalogue.SCHEDULE_SET)) == 2)
    assert field.made() == 0
    assert (await state(field)).slot == pytest.approx(time.time(), abs=100)


@pytest.mark.parametrize(("missed", "passes", "late"), [("run-once", 1, 1), ("skip", 0, 0), ("catch-up", 3, 3)])
async def test_missed_slots(field: Field, missed: Any, passes: int, late: int) -> None:
    """Goal: an outage is made good as the policy says, visibly, once. Method: the leader was away for three slots.

    The one who leads after the next one has nothing to make good.
    """
    start = hourly(missed=missed)
    await leave(field, start, slot=time.time() - 3 * 3600)
    field.set(t={"start": start})
    async with field.node("n1") as node:
        await node.leads()
        missed_slots = {"run-once": 2, "skip": 3, "catch-up": 0}[missed]
        await eventually(lambda: field.made() == passes and node.status().missed == missed_slots)
        await eventually(lambda: node.status().state == "idle")
        await eventually(lambda: len(field.told(catalogue.SCHEDULE_STARTED)) == passes)
    assert not (await state(field)).open
    assert len(field.told(catalogue.SCHEDULE_LATE)) == late
    assert len(field.told(catalogue.SCHEDULE_SKIPPED)) == (missed == "skip")
    async with field.node("n2") as node:
        await node.leads()
        await eventually(lambda: node.status().state == "idle")
        assert node.status().missed == missed_slots
    assert field.made() == passes


async def test_a_slot_goes_on_under_another_leader(field: Field) -> None:
    """Goal: a slot that was begun is finished, and not begun twice. Method: its leader goes in the middle of a pass."""
    start = hourly()
    await leave(field, start, slot=time.time() - 3600)
    field.set(t={"start": start})
    hold = asyncio.Event()

    async def held(made: Pass) -> Ran:
        if made.node == "n1":
            await hold.wait()
        return Ran(delivered=1)

    field.work = held
    async with field.node("n1"):
        await eventually(lambda: field.made() == 1)
        assert (await state(field)).open
    async with field.node("n2") as node:
        await eventually(lambda: field.made() == 2)
        await eventually(lambda: node.status().delivered == 1 and node.status().state == "idle")
    assert not (await state(field)).open
    assert len(field.told(catalogue.SCHEDULE_STARTED)) == 1
    async with field.node("n3") as node:
        await node.leads()
        await eventually(lambda: node.status().state == "idle")
    assert field.made() == 2


async def test_a_slot_lasts_until_its_files_are_sent(field: Field) -> None:
    """Goal: files that were too young, or failed, at the slot's time do not wait for the next. Method: say so once."""
    start = hourly()
    await leave(field, start, slot=time.time() - 3600)
    field.set(t={"start": start, "retry": RetrySpec(first_s=0.1)})
    outcomes = [Ran(wait_s=0.1), Ran(failed=1), Ran(error="gone", error_class="transient"), Ran(delivered=1)]

    async def in_turn(_: Pass) -> Ran:
        return outcomes.pop(0)

    field.work = in_turn
    async with field.node("n1") as node:
        await eventually(lambda: not outcomes)
        await eventually(lambda: node.status().state == "idle")
    assert not (await state(field)).open
    assert field.made() == 4


async def test_windows(field: Field) -> None:
    """Goal: nothing is begun outside a window, what was begun is finished. Method: one that is closed, and a record.

    Whoever asks by hand is not bound by it.
    """
    ago = datetime.now(UTC) - timedelta(hours=3)
    closed = f"{ago:%H:00}-{ago + timedelta(hours=1):%H:00}"
    field.set(t={"start": StartSpec(windows=(closed,))}, u={"start": StartSpec(windows=(closed,))})
    record = Record(state="intent", name="a", names=("temp",))
    await field.client.kv.put(field.keys.record("t", "d1"), json.encode(record))

    async def finish(made: Pass) -> Ran:
        if made.records:
            await made.commit({}, tuple(made.records))
        return Ran()

    field.work = finish
    async with field.node("n1") as node:
        await eventually(lambda: field.made("t") == 1 and node.status("t").state == "outside-window")
        assert node.status("u").state == "outside-window"
        opens = node.status("u").next_pass_at
        assert opens is not None
        assert 19 * 3600 < opens - time.time() < 22 * 3600
        assert field.made("u") == 0
        await node.dispatcher.run_now("u")
        await eventually(lambda: field.made("u") == 1)
    assert [made.finish for made in field.passes] == [True, False]


async def test_after_another(field: Field) -> None:
    """Goal: what one transfer delivers starts the next. Method: a row of three, of which the first delivers once."""
    field.set(
        t={},
        u={"start": StartSpec(after=("t",))},
        v={"start": StartSpec(after=("u",))},
        w={"start": StartSpec(poll=True)},
    )
    async with field.node("n1") as node:
        # Once each at the beginning: what was delivered before is not known.
        await eventually(lambda: all(field.made(id) == 1 for id in "tuvw"))
        await eventually(lambda: all(one.state == "idle" for one in node.dispatcher.status().values()))

        async def deliver(made: Pass) -> Ran:
            return Ran(delivered=0 if made.transfer == "v" else 1)

        field.work = deliver
        await node.dispatcher.run_now("t")
        await eventually(lambda: (field.made("t"), field.made("u"), field.made("v")) == (2, 2, 2))
        await eventually(lambda: all(one.state == "idle" for one in node.dispatcher.status().values()))
    assert field.made("w") == 1
