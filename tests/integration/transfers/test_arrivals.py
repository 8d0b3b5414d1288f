"""The number of files that came, on real etcd: written with `done`, refused with it, and never twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mft.errors import Conflict, LeadershipLost
from mft.etcd.beside import beside
from mft.model.delivery import Record
from mft.transfers.journal import Journal
from tests.integration.transfers.test_journal import Desk, desk_at, intent
from tests.rig.etcd import Etcd, run_etcd
from tests.rig.waiting import eventually

DONE = Record(state="done", name="a")


@pytest.fixture
async def desk(etcd: Etcd, prefix: str) -> AsyncIterator[Desk]:
    """Give a desk of a fresh cluster."""
    async with desk_at(etcd, prefix) as desk:
        yield desk


async def arrive(journal: Journal, *ids: str, transfer: str = "t") -> None:
    """Have files become `done` that are expected."""
    await journal.commit(transfer, dict.fromkeys(ids, DONE), (), are_expected=True)


async def arrived(desk: Desk, transfer: str = "t") -> tuple[int, int]:
    """Read (number, mod revision)."""
    kv = (await desk.client.kv.get(desk.keys.arrived(transfer))).kv
    return (int(kv.value), kv.mod_revision) if kv else (0, 0)


async def test_done_and_the_number_are_one_write(desk: Desk) -> None:
    """Goal: who finds `done` finds it counted; each file once, over all terms. Method: compare mod revisions."""
    journal = await desk.begin_term()
    async with beside(journal.run(), name="journal"):
        await journal.commit("t", {"d1": intent(), "d2": intent()}, (), are_expected=True)
        assert await arrived(desk) == (0, 0)
        await arrive(journal, "d1", "d2")
        assert await arrived(desk) == (2, (await desk.revisions())["d1"][0])
        await asyncio.gather(*(arrive(journal, "d1") for _ in range(3)), arrive(journal, "d3"))
        await journal.commit("t", {"d4": DONE}, ())  # Nobody expects it.
    later = await desk.begin_term()
    assert later.arrived("t") == journal.arrived("t") == 3
    with pytest.raises(LeadershipLost):
        await arrive(journal, "d5")
    async with beside(later.run(), name="journal"):
        await arrive(later, "d1", "d4")
        await later.commit("t", {}, ("d1", "d2", "d3", "d4"))
        await arrive(later, "d6")
    assert (await arrived(desk))[0] == later.arrived("t") == 4


async def test_what_is_refused_is_not_counted(desk: Desk) -> None:
    """Goal: a refused transaction counts none, what of it is tried again counts. Method: change a record by hand.

    Then the number: it is learnt and gone on from, as after a transaction that came late.
    """
    journal = await desk.begin_term()
    async with beside(journal.run(), name="journal"):
        await journal.commit("t", {f"d{number}": intent() for number in range(60)}, ())
        await desk.client.kv.put(desk.keys.record("t", "d7"), b'{"state":"uncertain","name":"a"}')
        with pytest.raises(Conflict):
            await arrive(journal, *(f"d{number}" for number in range(60)))
        assert (await arrived(desk))[0] == journal.arrived("t") == 59
        await desk.client.kv.put(desk.keys.arrived("t"), b"100")
        await arrive(journal, "d7")
        assert (await arrived(desk))[0] == journal.arrived("t") == 101


async def test_many_transfers_share_a_transaction(desk: Desk) -> None:
    """Goal: none has more operations than etcd takes. Method: 200 transfers at once, also where all is read again."""
    journal = await desk.begin_term()
    ids = [f"t{number}" for number in range(200)]
    async with beside(journal.run(), name="journal"):
        await asyncio.gather(*(arrive(journal, "d1", transfer=id) for id in ids))
        for id in ids:
            await desk.client.kv.put(desk.keys.arrived(id), b"5")
        await asyncio.gather(*(arrive(journal, "d2", transfer=id) for id in ids))
    assert {(await arrived(desk, id))[0] for id in ids} == {journal.arrived(id) for id in ids} == {6}


async def test_a_lost_answer_counts_once(tmp_path: Path) -> None:
    """Goal: a transaction whose answer is lost counts its files once. Method: freeze etcd until the calls give up."""
    async with run_etcd(tmp_path / "etcd") as etcd, desk_at(etcd, "c") as desk:
        journal = await desk.begin_term()
        async with beside(journal.run(), name="journal"), asyncio.TaskGroup() as tasks:
            await arrive(journal, "d")
            etcd.pause()
            try:
                asked = [tasks.create_task(arrive(journal, f"d{n}"), name=f"d{n}") for n in range(90)]
                await asyncio.sleep(6)  # Longer than a call may take: the very thing is the lost answer.
                assert not any(task.done() for task in asked)
            finally:
                etcd.resume()
            await eventually(lambda: all(task.done() for task in asked), what="all are settled")
        assert (await arrived(desk))[0] == journal.arrived("t") == 91


async def test_a_number_that_was_removed_begins_anew(desk: Desk) -> None:
    """Goal: who removes the number stops no delivery. Method: remove it under a leader."""
    journal = await desk.begin_term()
    async with beside(journal.run(), name="journal"):
        await arrive(journal, "d1")
        await desk.client.kv.delete(desk.keys.arrived("t"))
        async with asyncio.timeout(30):
            await arrive(journal, "d2", "d3")
    assert (await arrived(desk))[0] == journal.arrived("t") == 2
