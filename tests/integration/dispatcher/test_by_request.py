"""Transfers that start by request: by nothing else, and what was begun is finished, whoever leads."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import json

from mft.cluster.steering import pause, resume
from mft.model.delivery import Record
from mft.model.starts import StartSpec
from mft.model.windows import WEEKDAYS
from mft.transfers.starting import SlotState
from tests.integration.dispatcher.conftest import Field, Node, Pass, Ran, nothing_there
from tests.rig.waiting import eventually

BY_REQUEST = StartSpec(poll=False)
CLOSED = StartSpec(windows=(WEEKDAYS[(datetime.now(UTC) + timedelta(days=3)).weekday()],))
WAITS = "waits for a request"


async def slot(field: Field) -> SlotState:
    """Read whether what was asked for is finished."""
    value = (await field.client.kv.get(field.keys.schedule("t"))).value
    return json.decode(value, type=SlotState) if value else SlotState()


async def waits(node: Node) -> None:
    """Wait until the transfer does nothing more."""
    await eventually(lambda: node.dispatcher.status() and node.status().reason == WAITS)
    assert node.status().state == "idle"
    assert node.status().next_pass_at is None


async def test_nothing_but_a_request_takes_new_files(field: Field) -> None:
    """Goal: only what is asked for is sent. Method: a leader begins, the config changes, a pause ends; then a request.

    Of the passes made before, none may take new files, and they come to an end.
    """
    field.set(t={"start": BY_REQUEST})
    async with field.node("n1") as node:
        await waits(node)
        field.set(t={"start": BY_REQUEST, "poll_interval_s": 1.0})
        await pause(field.client.kv, field.keys, "t", "alice", "")
        await eventually(lambda: node.status().state == "paused")
        await resume(field.client.kv, field.keys, "t", "alice")
        await eventually(lambda: field.made() == 2)
        await waits(node)
        assert [made.finish for made in field.passes] == [True, True]
        await node.dispatcher.run_now("t")
        await eventually(lambda: field.made() == 3)
        await waits(node)
        assert not field.passes[2].finish
    assert field.made() == 3


async def test_what_was_asked_for_goes_on_under_another_leader(field: Field) -> None:
    """Goal: a request that was begun is not lost with its leader. Method: the leader goes in the middle of the pass.

    The one after the next has nothing to do for it.
    """
    field.set(t={"start": BY_REQUEST})
    async with field.node("n1") as node:
        await waits(node)

        async def held(_: Pass) -> Ran:
            await asyncio.Event().wait()
            return Ran()

        field.work = held
        await node.dispatcher.run_now("t")
        await eventually(lambda: field.made() == 2)
        assert (await slot(field)).open
    outcomes = [Ran(error="gone", error_class="transient"), Ran(wait_s=0.1), Ran(delivered=1)]

    async def in_turn(_: Pass) -> Ran:
        return outcomes.pop(0)

    field.work = in_turn
    async with field.node("n2") as node:
        await eventually(lambda: not outcomes)
        await waits(node)
    assert not (await slot(field)).open
    assert [made.finish for made in field.passes] == [True, False, False, False, False]
    outcomes.append(Ran())
    async with field.node("n3") as node:
        await waits(node)
    assert field.passes[-1].finish
    assert field.made() == 6


async def test_what_an_earlier_pass_left_open_is_finished(field: Field) -> None:
    """Goal: a delivery that was begun does not wait for a request. Method: a record, and a pass that fails once."""
    record = Record(state="intent", name="a", names=("temp",))
    await field.client.kv.put(field.keys.record("t", "d1"), json.encode(record))
    field.set(t={"start": BY_REQUEST})

    async def second_time(made: Pass) -> Ran:
        if field.made() == 1:
            return Ran(failed=1, wait_s=0.1)
        await made.commit({}, tuple(made.records))
        return Ran(delivered=1)

    field.work = second_time
    async with field.node("n1") as node:
        await eventually(lambda: field.made() == 2)
        await waits(node)
        assert node.status().open == 0
    assert [made.finish for made in field.passes] == [True, True]


@pytest.mark.parametrize("start", [BY_REQUEST, CLOSED], ids=["by request", "outside its windows"])
async def test_a_request_that_nobody_has_begun_is_not_lost(field: Field, start: StartSpec) -> None:
    """Goal: what an operator was told is done, whoever leads then. Method: ask amid a pass; the leader goes."""
    field.set(t={"start": start})

    async def held(_: Pass) -> Ran:
        await asyncio.Event().wait()
        return Ran()

    async with field.node("n1") as node:
        await eventually(lambda: node.dispatcher.status() and node.status().state in {"idle", "outside-window"})
        field.work = held
        await node.dispatcher.run_now("t")
        await eventually(lambda: any(not made.finish for made in field.passes))
        await node.dispatcher.run_now("t")
        assert (await slot(field)).asked
    made = field.made()
    field.work = nothing_there
    async with field.node("n2") as node:
        await eventually(lambda: field.made() > made)
        assert not field.passes[made].finish
        await eventually(lambda: node.dispatcher.status() and node.status().state != "running")
    left = await slot(field)
    assert not left.asked
    assert not left.open
