"""A transfer that is moved from one leader group to another, on real etcd: two leaders at once, one that writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from mft.cluster.keys import Keys
from mft.errors import Conflict
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.etcd.ops import Put
from mft.model.delivery import Record, Term
from mft.transfers.journal import Journal
from tests.rig.etcd import PATIENT, Etcd


class Offices:
    """Leaders of several groups of one cluster, each with its journal."""

    def __init__(self, client: EtcdClient, keys: Keys, stack: AsyncExitStack) -> None:
        self.client = client
        self.keys = keys
        self._stack = stack

    async def leader(self, group: str, lease: str = "1") -> Journal:
        """Let an instance lead the group, beside whoever leads another."""
        key = f"{self.keys.election(group)}{lease}"
        revision = (await self.client.kv.put(key, b"leader")).header.revision
        journal = Journal(self.client.kv, self.keys, Term("life", revision), key)
        await journal.load_all()
        await self._stack.enter_async_context(beside(journal.run(), name=f"journal:{group}"))
        return journal

    async def resign(self, group: str, lease: str = "1") -> None:
        """End the leadership of this group."""
        await self.client.kv.delete(f"{self.keys.election(group)}{lease}")

    async def records(self, transfer: str = "t") -> set[str]:
        """Return the deliveries with a record in etcd."""
        prefix = self.keys.journal(transfer)
        return {kv.key.removeprefix(prefix) for kv in (await self.client.kv.get_prefix(prefix)).kvs}


@pytest.fixture
async def offices(etcd: Etcd, prefix: str) -> AsyncIterator[Offices]:
    """Give leaders of a fresh cluster."""
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client, AsyncExitStack() as stack:
        keys = Keys(prefix)
        await client.kv.put(keys.incarnation, b"life")
        yield Offices(client, keys, stack)


def _intent(name: str) -> dict[str, Record]:
    return {name: Record(state="intent", name=name, names=("temp",))}


async def test_the_new_group_takes_over_and_the_old_one_writes_no_more(offices: Offices) -> None:
    """Goal: from when the new leader reads the records on, nothing of the old one is written. Method: both at once.

    The last write is the dangerous one: the new leader has finished and forgotten the delivery, so "there is no record"
    is true again, and the old leader, which has uploaded it too, would open it a second time.
    """
    old = await offices.leader("here")
    await old.settled("t")
    await old.commit("t", _intent("open"), ())
    new = await offices.leader("there")
    await old.commit("t", _intent("later"), ())  # The new one has read, but not begun.
    await new.settled("t")
    assert set(new.open_records("t")) == {"open", "later"}
    with pytest.raises(Conflict, match="leader group there"):
        await old.commit("t", _intent("uploaded by both"), ())
    await new.commit("t", _intent("uploaded by both"), ())
    await new.commit("t", {}, ("uploaded by both", "open", "later"))
    for _ in range(2):  # Also once it has learned of the new owner.
        with pytest.raises(Conflict, match="leader group there"):
            await old.commit("t", _intent("uploaded by both"), ())
    assert await offices.records() == set()
    with pytest.raises(Conflict, match="leader group there"):
        await old.settled("t")  # So no pass of it begins, either.


async def test_one_transfer_moves_and_the_others_of_both_groups_go_on(offices: Offices) -> None:
    """Goal: only what was moved is refused, also in one transaction with the rest. Method: commits at one time."""
    old, new = await offices.leader("here"), await offices.leader("there")
    await asyncio.gather(*(old.commit(id, _intent("first"), ()) for id in ("t", "stays")))
    await new.load("t")
    await new.settled("t")
    outcomes = await asyncio.gather(
        *(old.commit(id, _intent("second"), ()) for id in ("t", "stays")), return_exceptions=True
    )
    assert isinstance(outcomes[0], Conflict)
    assert outcomes[1] is None
    assert await offices.records("stays") == {"first", "second"}


async def test_two_that_begin_with_a_transfer_nobody_had(offices: Offices) -> None:
    """Goal: the first write decides. Method: two leaders that both think it is theirs, and that it is new."""
    one, other = await offices.leader("here"), await offices.leader("there")
    await one.settled("t")
    await other.settled("t")
    await one.commit("t", _intent("a"), ())
    with pytest.raises(Conflict, match="leader group here"):
        await other.commit("t", _intent("b"), ())
    assert await offices.records() == {"a"}


async def test_a_new_leader_of_the_same_group_needs_no_write(offices: Offices) -> None:
    """Goal: owners cost nothing at a failover. Method: count revisions over a takeover of five transfers."""
    first = await offices.leader("here")
    for number in range(5):
        await first.commit(f"t{number}", _intent("a"), ())
    await offices.resign("here")
    second = await offices.leader("here", "2")
    before = (await offices.client.kv.get("none")).header.revision
    for number in range(5):
        await second.settled(f"t{number}")
        assert set(second.open_records(f"t{number}")) == {"a"}
    assert (await offices.client.kv.get("none")).header.revision == before


async def test_many_transfers_in_one_commit_fit_into_transactions(offices: Offices) -> None:
    """Goal: etcd's bound of 128 operations holds with an owner each. Method: first writes of 100 transfers at once."""
    journal = await offices.leader("here")
    await asyncio.gather(*(journal.commit(f"t{number}", _intent("a"), ()) for number in range(100)))
    assert len((await offices.client.kv.get_prefix(offices.keys.owners)).kvs) == 100
    result = await offices.client.kv.txn(when=[], then=[Put(offices.keys.owner("t1"), b"there")])
    assert result.succeeded
    outcomes = await asyncio.gather(
        *(journal.commit(f"t{number}", {}, ("a",)) for number in range(100)), return_exceptions=True
    )
    assert [number for number, outcome in enumerate(outcomes) if outcome is not None] == [1]
