"""What operators ask of a transfer, and what they see."""

from __future__ import annotations

import asyncio

import pytest

from mft.cluster.steering import pause, read_pauses, resume
from mft.errors import Conflict, NotFound
from mft.events import catalogue
from mft.model.delivery import Record
from tests.integration.dispatcher.conftest import Field, Pass, Ran
from tests.rig.waiting import eventually


async def test_a_pause_outlives_its_leader(field: Field) -> None:
    """Goal: what is paused begins nothing, whoever leads, and goes on at once. Method: change the leader in between.

    The pass under way is asked to take nothing new, and not cancelled.
    """
    field.set(t={}, u={})

    async def until_asked(made: Pass) -> Ran:
        if made.transfer == "t":
            await eventually(lambda: made.ending.asked)
        return Ran()

    field.work = until_asked
    async with field.node("n1") as one:
        await eventually(lambda: field.made("t") == 1)
        assert one.status().state == "running"
        await pause(field.client.kv, field.keys, "t", "alice", "partner asked for it")
        await eventually(lambda: one.status().state == "paused")
        assert field.passes[0].ended
        assert one.status().reason == "partner asked for it"
        assert one.status().next_pass_at is None
        with pytest.raises(Conflict, match="paused by alice"):
            await one.dispatcher.run_now("t")
        assert one.status("u").state == "idle"
    async with field.node("n2") as two:
        await two.leads()
        await eventually(lambda: field.made("u") == 2)
        assert two.status().state == "paused"
        assert field.made("t") == 1
        assert set(await read_pauses(field.client.kv, field.keys)) == {"t"}
        assert await resume(field.client.kv, field.keys, "t", "bob")
        await eventually(lambda: field.made("t") == 2)
        assert not await resume(field.client.kv, field.keys, "t", "carol")
        assert not await read_pauses(field.client.kv, field.keys)
    assert [fields["by"] for fields in field.told(catalogue.TRANSFER_PAUSED)] == ["alice"]
    assert [fields["by"] for fields in field.told(catalogue.TRANSFER_RESUMED)] == ["bob"]


async def test_run_now_and_cancel(field: Field) -> None:
    """Goal: an operator starts and ends a pass. Method: both, also while there is none and where nobody leads."""
    field.set(t={})
    hold = asyncio.Event()

    async def held(made: Pass) -> Ran:
        await hold.wait()
        return Ran(delivered=2)

    async with field.node("n1") as node:
        with pytest.raises(Conflict, match="does not lead"):
            await node.dispatcher.run_now("t")
        await eventually(lambda: field.made() == 1 and node.status().state == "idle")
        with pytest.raises(Conflict, match="no pass"):
            node.dispatcher.cancel("t")
        with pytest.raises(NotFound):
            await node.dispatcher.run_now("nobody")
        field.work = held
        await node.dispatcher.run_now("t", "bob, at noon")
        await eventually(lambda: field.made() == 2)
        node.dispatcher.cancel("t", "carol")
        await eventually(lambda: field.passes[-1].ended and node.status().state == "idle")
        hold.set()
        await node.dispatcher.run_now("t")
        await eventually(lambda: node.status().delivered == 2)
        status = node.status()
    assert status.last_pass_at is not None
    assert status.next_pass_at is not None
    assert 3500 < status.next_pass_at - status.last_pass_at < 3700
    assert [fields["by"] for fields in field.told(catalogue.RUN_REQUESTED)] == ["bob, at noon", "an operator"]
    assert [fields["by"] for fields in field.told(catalogue.TRANSFER_CANCELLED)] == ["carol"]


async def test_what_is_asked_for_during_a_pass_makes_another(field: Field) -> None:
    """Goal: a request is never lost. Method: ask while a pass is under way."""
    field.set(t={})
    hold = asyncio.Event()

    async def held(made: Pass) -> Ran:
        await hold.wait()
        return Ran()

    field.work = held
    async with field.node("n1") as node:
        await eventually(lambda: field.made() == 1)
        await node.dispatcher.run_now("t")
        hold.set()
        await eventually(lambda: field.made() == 2)


async def test_resend(field: Field) -> None:
    """Goal: what is held is sent again on demand, nothing else. Method: records of each state."""
    field.set(t={})
    records = {
        "d1": Record(state="uncertain", name="a", names=("temp",)),
        "d2": Record(state="quarantined", name="b", reason="too bad"),
        "d3": Record(state="intent", name="c", names=("temp",)),
    }
    async with field.node("n1") as node:
        await eventually(lambda: field.made() == 1)
        await field.passes[0].commit(records, ())
        status = node.status()
        assert (status.held, status.quarantined, status.open) == (1, 1, 1)
        before = field.made()
        for delivery in ("d1", "d2"):
            await node.dispatcher.resend("t", delivery, "dave")
        with pytest.raises(Conflict, match="on its way"):
            await node.dispatcher.resend("t", "d3")
        with pytest.raises(NotFound):
            await node.dispatcher.resend("t", "d1")
        await eventually(lambda: field.made() > before)
        records = {"d2": Record(state="taken", name="b"), "d3": records["d3"]}
        assert node.dispatcher.records("t") == records
        assert field.passes[-1].records == records
    assert (await field.client.kv.count_prefix(field.keys.journal("t"))) == 2
    told = [(fields["delivery"], fields["by"]) for fields in field.told(catalogue.RESEND_REQUESTED)]
    assert told == [("d1", "dave"), ("d2", "dave")]


async def test_what_is_sent_again_already_is_not_forgotten(field: Field) -> None:
    """Goal: no record of a pass under way is removed. Method: ask for it while `on_uncertain` sends it again."""
    field.set(t={"on_uncertain": "resend"})
    hold = asyncio.Event()

    async def held(made: Pass) -> Ran:
        await made.commit({"d1": Record(state="uncertain", name="a")}, ())
        await hold.wait()
        return Ran()

    field.work = held
    async with field.node("n1") as node:
        await eventually(lambda: field.made() == 1 and node.dispatcher.records("t"))
        with pytest.raises(Conflict, match="already"):
            await node.dispatcher.resend("t", "d1")
        hold.set()


async def test_the_config_is_followed(field: Field) -> None:
    """Goal: each transfer of the config has its passes, a changed one at once, one taken out none any more.

    Method: change it in each way; the others make no pass for it.
    """
    field.set(t={}, u={})
    async with field.node("n1") as node:
        await eventually(lambda: field.made("t") == field.made("u") == 1)
        field.set(t={"priority": 1}, u={}, v={})
        await eventually(lambda: field.made("t") == 2 and field.made("v") == 1)
        field.set(u={}, v={})
        await eventually(lambda: set(node.dispatcher.status()) == {"u", "v"})
        field.set(t={}, u={}, v={})
        await eventually(lambda: field.made("t") == 3)
        assert field.made("u") == field.made("v") == 1
    assert [fields["transfer"] for fields in field.told(catalogue.TRANSFER_ENDED)] == ["t"]
