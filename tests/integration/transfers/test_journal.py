"""The journal on real etcd: grouped, fenced, settled after lost answers, and never written blindly."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from mft.cluster.keys import Keys
from mft.errors import Conflict, LeadershipLost, MftError
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.model.delivery import Kept, LedgerEntry, Record, State, Term
from mft.transfers.journal import Journal
from mft.transfers.journal_writes import RECORDS_PER_TXN_MAX
from mft.transfers.record_file import Committed, Note
from tests.rig.etcd import PATIENT, Etcd, run_etcd
from tests.rig.waiting import eventually


class Desk:
    """A journal of one term beside the etcd it writes to."""

    def __init__(self, client: EtcdClient, keys: Keys) -> None:
        self.client = client
        self.keys = keys
        self.leader_key = f"{keys.election('default')}1"

    async def begin_term(self, note: Note | None = None) -> Journal:
        """Make the leader's key anew, as a new leader does, and give its journal."""
        await self.client.kv.delete(self.leader_key)
        written = await self.client.kv.put(self.leader_key, b"leader")
        await self.client.kv.put(self.keys.incarnation, b"life")
        journal = Journal(self.client.kv, self.keys, Term("life", written.header.revision), self.leader_key, note)
        await journal.load("t")
        return journal

    async def revisions(self) -> dict[str, tuple[int, int]]:
        """Delivery → (mod revision, version) of each record in etcd."""
        prefix = self.keys.journal("t")
        listing = await self.client.kv.get_prefix(prefix)
        return {kv.key.removeprefix(prefix): (kv.mod_revision, kv.version) for kv in listing.kvs}


@asynccontextmanager
async def desk_at(etcd: Etcd, cluster: str) -> AsyncIterator[Desk]:
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        yield Desk(client, Keys(cluster))


@pytest.fixture
async def desk(etcd: Etcd, prefix: str) -> AsyncIterator[Desk]:
    """Give a desk of a fresh cluster."""
    async with desk_at(etcd, prefix) as desk:
        yield desk


def intent(name: str = "a", *names: str) -> Record:
    return Record(state="intent", name=name, names=names or ("temp",))


async def test_writes_are_grouped(desk: Desk) -> None:
    """Goal: many deliveries share transactions, none has more than it may. Method: 150 at once, count revisions."""
    journal = await desk.begin_term()
    async with beside(journal.run(), name="journal"):
        await asyncio.gather(*(journal.commit("t", {f"d{number}": intent()}, ()) for number in range(150)))
        groups = collections.Counter(revision for revision, _ in (await desk.revisions()).values())
        assert sum(groups.values()) == 150
        assert len(groups) <= 4
        assert max(groups.values()) <= RECORDS_PER_TXN_MAX
        assert len(journal.open_records("t")) == 150
        await asyncio.gather(*(journal.commit("t", {}, (f"d{number}",)) for number in range(150)))
    assert await desk.revisions() == {}
    assert journal.open_records("t") == {}


async def test_one_record_goes_through_its_states_in_order(desk: Desk) -> None:
    """Goal: writes of one record never share a transaction nor overtake. Method: ask for all states at once."""
    journal = await desk.begin_term()
    async with beside(journal.run(), name="journal"), asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(journal.commit("t", {"d": intent("a", str(number))}, ()), name=f"commit{number}")
    assert (await desk.revisions())["d"][1] == 5
    assert journal.open_records("t")["d"].names == ("4",)


async def test_an_old_leader_writes_nothing(desk: Desk) -> None:
    """Goal: once a new term has begun the old one's writes are refused whole. Method: the older of two writes."""
    old = await desk.begin_term()
    async with beside(old.run(), name="old"):
        await old.commit("t", {"d1": intent()}, ())
        new = await desk.begin_term()
        assert set(new.open_records("t")) == {"d1"}
        before = await desk.revisions()
        for puts, forgets in (({"d2": intent()}, ()), ({"d1": intent("b")}, ()), ({}, ("d1",))):
            with pytest.raises(LeadershipLost):
                await old.commit("t", puts, forgets)
        assert await desk.revisions() == before
    with pytest.raises(LeadershipLost):
        await old.commit("t", {"d3": intent()}, ())


@pytest.mark.parametrize("bump", [0, 1_000_000_000])
async def test_a_store_that_went_back_under_a_leader(tmp_path: Path, bump: int) -> None:
    """Goal: a leader whose key came back with a backup does not learn from it which temp names there are.

    Method: save, claim, restore within the term; the next write of that record.
    """
    async with run_etcd(tmp_path / "etcd") as etcd, desk_at(etcd, "c") as desk:
        journal = await desk.begin_term()
        async with beside(journal.run(), name="journal"):
            await journal.commit("t", {"d1": intent("a", "1")}, ())
            await etcd.ctl("snapshot", "save", str(tmp_path / "backup"))
            await journal.commit("t", {"d1": intent("a", "1", "2")}, ())
            await etcd.restore(tmp_path / "backup", bump_revision=bump)
            with pytest.raises(LeadershipLost, match="gone back"):
                await journal.commit("t", {"d1": intent("a", "1", "2", "3")}, ())
            assert journal.open_records("t")["d1"].names == ("1", "2")


async def test_what_cannot_be_read_is_said_and_not_led(desk: Desk) -> None:
    """Goal: an older program does not lead on what a newer one wrote. Method: a record in a state nobody knows."""
    await desk.client.kv.put(desk.keys.record("t", "d1"), b'{"state":"beamed","name":"a.txt"}')
    with pytest.raises(MftError, match=r"journal/t/d1 in etcd cannot be read .* newer"):
        await desk.begin_term()


async def test_another_life_of_the_store_ends_the_term(desk: Desk) -> None:
    """Goal: after a restore nobody goes on with the old term. Method: change the incarnation."""
    journal = await desk.begin_term()
    async with beside(journal.run(), name="journal"):
        await desk.client.kv.put(desk.keys.incarnation, b"another")
        with pytest.raises(LeadershipLost):
            await journal.commit("t", {"d": intent()}, ())
    assert await desk.revisions() == {}


async def test_a_foreign_write_is_a_conflict_and_then_known(desk: Desk) -> None:
    """Goal: what somebody else made of a record is never overwritten, nor stumbled over for ever.

    Method: change one record of a batch by hand; the others must be written, the next attempt knows the new state.
    """
    journal = await desk.begin_term()
    key = desk.keys.record("t", "d1")
    async with beside(journal.run(), name="journal"):
        await journal.commit("t", {"d1": intent()}, ())
        await desk.client.kv.put(key, b'{"state":"intent","name":"a","names":["theirs"]}')
        outcomes = await asyncio.gather(
            *(journal.commit("t", {f"d{number}": intent("b")}, ()) for number in range(1, 6)), return_exceptions=True
        )
        assert isinstance(outcomes[0], Conflict)
        assert outcomes[1:] == [None] * 4
        assert journal.open_records("t")["d1"].names == ("theirs",)
        await journal.commit("t", {"d1": intent("a", "theirs", "mine")}, ())
        await desk.client.kv.delete(key)
        with pytest.raises(Conflict):
            await journal.commit("t", {"d1": intent()}, ())
        assert "d1" not in journal.open_records("t")
        await journal.commit("t", {}, ("d1", "never"))
    assert set(await desk.revisions()) == {"d2", "d3", "d4", "d5"}


async def test_a_lost_answer_is_settled_once(tmp_path: Path) -> None:
    """Goal: a write whose answer is lost is made exactly once.

    Method: freeze etcd under puts and forgets until their calls have given up, then let it go on: it may then carry out
    what lay in its socket, or not.
    """
    async with run_etcd(tmp_path / "etcd") as etcd, desk_at(etcd, "c") as desk:
        noted: list[Committed] = []
        journal = await desk.begin_term(noted.append)
        async with beside(journal.run(), name="journal"), asyncio.TaskGroup() as tasks:
            for number in range(20):
                await journal.commit("t", {f"old{number}": intent()}, ())
            etcd.pause()
            try:
                asked = [
                    *(tasks.create_task(journal.commit("t", {f"n{n}": intent()}, ()), name=f"n{n}") for n in range(90)),
                    *(tasks.create_task(journal.commit("t", {}, (f"old{n}",)), name=f"old{n}") for n in range(20)),
                ]
                await asyncio.sleep(6)  # Longer than a call may take: the very thing is the lost answer.
                assert not any(task.done() for task in asked)
            finally:
                etcd.resume()
            await eventually(lambda: all(task.done() for task in asked), what="all are settled")
        revisions = await desk.revisions()
        assert set(revisions) == {f"n{n}" for n in range(90)}
        assert {version for _, version in revisions.values()} == {1}
        assert set(journal.open_records("t")) == set(revisions)
        written = [one for one in noted if one.delivery.startswith("n")]
        assert sorted((one.delivery, one.revision) for one in written) == sorted(
            (delivery, revision) for delivery, (revision, _) in revisions.items()
        )
        assert sorted(one.delivery for one in noted if one.record is None) == sorted(f"old{n}" for n in range(20))


def kept(state: State, size_bytes: int = 3) -> Record:
    return Record(state=state, name="a.csv", names=("temp",), kept=Kept(size_bytes, 5.25, 9))


async def test_done_and_ledger_are_one_write(desk: Desk) -> None:
    """Goal: a kept source is never done without the ledger knowing. Method: write `done`; compare mod revisions."""
    journal = await desk.begin_term()
    async with beside(journal.run(), name="journal"):
        await journal.commit("t", {"d1": kept("intent")}, ())
        assert journal.ledger("t") == {}
        await journal.commit("t", {"d1": kept("done")}, ())
        entry = (await desk.client.kv.get(desk.keys.ledger_entry("t", "a.csv"))).kv
        assert entry is not None
        assert entry.mod_revision == (await desk.revisions())["d1"][0]
        await journal.commit("t", {}, ("d1",))
        assert journal.ledger("t") == {"a.csv": Kept(3, 5.25, 9)}
    later = await desk.begin_term()
    assert later.ledger("t") == {"a.csv": Kept(3, 5.25, 9)}
    async with beside(later.run(), name="journal"):
        await later.forget_sources("t", ["a.csv", "never-there"])
        assert (await desk.client.kv.get_prefix(desk.keys.ledger("t"))).kvs == ()
        await later.commit("t", {"d2": kept("intent", 4)}, ())


async def test_a_record_that_missed_the_ledger_is_refused(desk: Desk) -> None:
    """Goal: no delivery of a kept source begins over a newer ledger. Method: change the entry behind the journal.

    The journal has learnt of it then: the next pass leaves that source alone, and delivers what it becomes later.
    """
    journal = await desk.begin_term()
    entry = LedgerEntry(path="a.csv", source=Kept(3, 5.25, 9), delivery="d0")
    await desk.client.kv.put(desk.keys.ledger_entry("t", "a.csv"), msgspec.json.encode(entry))
    async with beside(journal.run(), name="journal"):
        with pytest.raises(Conflict):
            await journal.commit("t", {"late": kept("intent")}, ())
        assert await desk.revisions() == {}
        assert journal.ledger("t") == {"a.csv": Kept(3, 5.25, 9)}
        await journal.commit("t", {"next": kept("intent", 4)}, ())


async def test_what_is_committed_is_noted(desk: Desk) -> None:
    """Goal: all that etcd has agreed to, and nothing else, is noted. Method: each write; a refused one; another term.

    The ledger's entry is noted once more when its delivery is forgotten: the leader that wrote it may have died over
    its answer, and have noted nothing.
    """
    noted: list[Committed] = []
    journal = await desk.begin_term(noted.append)
    async with beside(journal.run(), name="journal"):
        await journal.commit("t", {"d1": intent("a"), "d2": kept("intent")}, ())
        await journal.commit("t", {"d2": kept("done")}, ())
    revisions = await desk.revisions()
    assert [(one.delivery, one.path) for one in noted] == [("d1", ""), ("d2", ""), ("d2", "a.csv")]
    assert [one.record for one in noted] == [intent("a"), kept("intent"), kept("done")]
    assert (noted[0].revision, noted[2].revision) == (revisions["d1"][0], revisions["d2"][0])
    later: list[Committed] = []
    new = await desk.begin_term(later.append)
    with pytest.raises(LeadershipLost):
        await journal.commit("t", {"d3": intent()}, ())
    async with beside(new.run(), name="journal"):
        await new.commit("t", {}, ("d1", "d2"))
        await new.forget_sources("t", ["a.csv"])
    assert len(noted) == 3
    assert [(one.delivery, one.record, one.path, one.kept) for one in later] == [
        ("d1", None, "", None),
        ("d2", None, "a.csv", Kept(3, 5.25, 9)),
        ("", None, "a.csv", None),
    ]
