"""Files that are expected: each is counted once, whatever becomes of leaders and passes, and a short period is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from mft.events import catalogue
from mft.model.delivery import Record
from mft.model.starts import CalendarSpec
from mft.model.transfer_parts import ExpectSpec
from mft.transfers.expectation import period
from mft.transfers.starting import SlotState
from tests.integration.dispatcher.conftest import Field, Pass, Ran
from tests.rig.waiting import eventually

DAY_S = 86400.0


def done(id: str, **fields: Any) -> dict[str, Record]:
    return {id: Record(state="done", name=id, **fields)}


async def deliver(made: Pass, *ids: str) -> None:
    """Have files delivered, as a worker does, up to `done`."""
    for id in ids:
        await made.commit({id: Record(state="intent", name=id, names=("temp",))}, ())
        await made.commit(done(id), ())


async def hold() -> Ran:
    """Go on until the pass is cancelled or its leader is gone."""
    await asyncio.Event().wait()
    return Ran()


async def arrived(field: Field) -> int:
    """Read how many files came."""
    return int((await field.client.kv.get(field.keys.arrived("t"))).value or 0)


async def state(field: Field) -> SlotState:
    """Read since when they are counted."""
    value = (await field.client.kv.get(field.keys.schedule("t"))).value
    return json.decode(value, type=SlotState) if value else SlotState()


async def leave(field: Field, state: SlotState, files: int) -> None:
    """Have etcd say what a leader has left."""
    await field.client.kv.put(field.keys.schedule("t"), json.encode(state))
    await field.client.kv.put(field.keys.arrived("t"), b"%d" % files)


def midnight() -> float:
    """Say when the day has begun."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def yesterday(before: int) -> SlotState:
    """Count yesterday's files, of which so many more had come earlier."""
    return SlotState(period=midnight() - DAY_S, period_end=midnight(), before=before)


async def test_too_few_files_are_told_once(field: Field) -> None:
    """Goal: a period that ends short is told, also after an outage. Method: yesterday's count, and nobody led since."""
    await leave(field, yesterday(10), 14)
    field.set(t={"expect": ExpectSpec(files_min=5)})
    for name in ("n1", "n2"):
        async with field.node(name) as node:
            await node.leads()
            await eventually(lambda: node.status().state == "idle" and field.made())
    (told,) = field.told(catalogue.TOO_FEW_FILES)
    assert (told["files"], told["files_min"]) == (4, 5)
    assert await state(field) == SlotState(period=midnight(), period_end=midnight() + DAY_S, before=14)


async def test_a_leader_is_gone_right_after_done(field: Field) -> None:
    """Goal: no alarm, for all files came: each is counted, once. Method: its leader goes right after the last `done`.

    The next one finds three `done` and says so once more, and finishes one that was begun.
    """
    today = SlotState(period=midnight(), period_end=midnight() + DAY_S, before=10)
    await leave(field, today, 12)
    field.set(t={"expect": ExpectSpec(files_min=5)})

    async def work(made: Pass) -> Ran:
        if made.node == "n1":
            await made.commit({"b": Record(state="intent", name="b", names=("temp",))}, ())
            await deliver(made, "d1", "d2", "d3")
            await hold()
        assert set(made.records) == {"b", "d1", "d2", "d3"}
        for id in made.records:
            await made.commit(done(id), ())
        await made.commit({}, tuple(made.records))
        return Ran(delivered=4)

    field.work = work
    async with field.node("n1"):
        record = field.keys.record("t", "d3")
        await eventually(lambda: _is_done(field, record))
        one, other = await field.client.kv.get(field.keys.arrived("t")), await field.client.kv.get(record)
        assert one.kv is not None
        assert other.kv is not None
        assert one.kv.mod_revision == other.kv.mod_revision
    # As if all of that had been yesterday, and the day had ended before the next one leads.
    await leave(field, yesterday(10), await arrived(field))
    assert await arrived(field) == 15
    async with field.node("n2") as node:
        await eventually(lambda: field.made() == 2 and node.status().delivered == 4)
        await eventually(lambda: node.status().state == "idle")
    assert await arrived(field) == 16
    assert (await state(field)).before == 15
    assert field.told(catalogue.TOO_FEW_FILES) == []


async def _is_done(field: Field, key: str) -> bool:
    return b'"done"' in ((await field.client.kv.get(key)).value or b"")


async def test_what_is_not_counted(field: Field) -> None:
    """Goal: only what came counts, and costs. Method: a skipped file, one that was done before, no expectation."""
    field.set(t={"expect": ExpectSpec()}, u={})

    async def work(made: Pass) -> Ran:
        await made.commit(done("skipped", skipped=True) | done("late", again=True), ())
        await deliver(made, "d1")
        await made.commit({}, ("skipped", "late", "d1"))
        return Ran(delivered=1)

    field.work = work
    async with field.node("n1") as node:
        await eventually(lambda: node.dispatcher.status() and all(node.status(id).delivered for id in "tu"))
    assert await arrived(field) == 1
    assert (await field.client.kv.get(field.keys.arrived("u"))).kv is None


async def test_a_cancelled_pass_keeps_what_was_done(field: Field) -> None:
    """Goal: what a pass had delivered counts, though it was cancelled. Method: cancel it over its last write."""
    field.set(t={"expect": ExpectSpec()})

    async def work(made: Pass) -> Ran:
        if field.made() == 1:
            await deliver(made, "d1", "d2")
            await made.commit({"d3": Record(state="intent", name="d3", names=("temp",))}, ())
            node.dispatcher.cancel("t")
            await made.commit(done("d3"), ())  # Where it is cancelled; the write is under way by then.
            raise AssertionError("it goes on")
        assert [record.state for record in made.records.values()] == ["done"] * 3
        for id in made.records:
            await made.commit(done(id), ())
        return Ran(delivered=3)

    field.work = work
    async with field.node("n1") as node:
        await eventually(lambda: field.passes and field.passes[0].ended and node.status().state == "idle")
        await eventually(lambda: _counts(field, 3))
        await node.dispatcher.run_now("t")
        await eventually(lambda: node.status().delivered == 3)
    assert await arrived(field) == 3


async def _counts(field: Field, files: int) -> bool:
    return await arrived(field) == files


@pytest.mark.parametrize("is_holiday", [False, True], ids=["workday", "holiday"])
async def test_files_by_a_time_of_workdays(field: Field, is_holiday: bool) -> None:
    """Goal: a deadline is told, but not on a holiday. Method: yesterday's count, a calendar that has today or not."""
    await leave(field, yesterday(10), 14)
    field.set(t={"expect": ExpectSpec(files_min=5, by=("0 0 * * *",), calendars=("bank",))})
    today = datetime.now(UTC).date().isoformat()
    calendars = {"bank": CalendarSpec(days=(today if is_holiday else "2020-01-01",))}
    field.config.set(replace(field.config.value, calendars=calendars))
    async with field.node("n1"):
        await eventually(lambda: field.passes and field.passes[0].ended)
        await eventually(lambda: _has_begun(field), what="another period")
    assert [told["files"] for told in field.told(catalogue.TOO_FEW_FILES)] == ([] if is_holiday else [4])


async def _has_begun(field: Field) -> bool:
    return (await state(field)).period_end > midnight()


async def test_a_period_ends_in_the_middle_of_a_pass(field: Field) -> None:
    """Goal: it is judged at its end by what came until then. Method: one that ends soon, in a pass that goes on."""
    now = datetime.now(UTC)
    zone = "UTC" if 1 <= now.hour < 23 else "Asia/Tokyo"
    begin = period(ExpectSpec(time_zone=zone), now.timestamp()).begin
    expect = ExpectSpec(files_min=3, within_s=now.timestamp() - begin + 3, time_zone=zone)
    await leave(field, SlotState(period=begin, period_end=begin + expect.within_s, before=1), 1)
    field.set(t={"expect": expect})

    async def work(made: Pass) -> Ran:
        await deliver(made, "d1", "d2")
        await eventually(lambda: field.told(catalogue.TOO_FEW_FILES), what="the period is over")
        await deliver(made, "d3")
        return Ran(delivered=3)

    field.work = work
    async with field.node("n1") as node:
        await eventually(lambda: node.dispatcher.status() and node.status().delivered == 3)
    (told,) = field.told(catalogue.TOO_FEW_FILES)
    assert told["files"] == 2
    left = await state(field)
    assert (left.period, left.before) == (begin + expect.within_s, 3)
    assert await arrived(field) == 4
