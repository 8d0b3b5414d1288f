"""Nodes and controllers after restores of a real etcd, without the processes around them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from mft.agent.restoring import Restoring
from mft.cluster import life
from mft.cluster.keys import Keys
from mft.cluster.membership import Ack, encode
from mft.controller import restoring
from mft.controller.management import Management
from mft.errors import Exhausted, Unavailable
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.model.delivery import Kept, LedgerEntry, Record, Term
from mft.transfers import recall
from mft.transfers.record_file import Committed, RecordFile
from tests.integration.config.controllers import keys_in, management
from tests.rig.etcd import PATIENT, Etcd, run_etcd
from tests.rig.waiting import eventually

CLUSTER = "c"
KEYS = Keys(CLUSTER)


@pytest.fixture
async def own_etcd(tmp_path: Path) -> AsyncIterator[Etcd]:
    """Run an etcd that may be restored."""
    async with run_etcd(tmp_path / "etcd") as etcd:
        yield etcd


@pytest.fixture
async def client(own_etcd: Etcd) -> AsyncIterator[EtcdClient]:
    """Connect the nodes, and the test."""
    async with EtcdClient([own_etcd.endpoint], times=PATIENT) as client:
        yield client


class Node:
    """The parts of an agent that have to do with a restore."""

    def __init__(self, client: EtcdClient, folder: Path, name: str = "a", records: str = "records") -> None:
        folder.mkdir(exist_ok=True)
        self._client = client
        self.name = name
        self.records = RecordFile(folder / records, lambda reason, lost: None)
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.restoring = Restoring(
            name=name,
            etcd=client,
            keys=KEYS,
            life=life.Life(client.kv, KEYS, KEYS.mark("node", name), folder / life.FILE),
            records=self.records,
            emit=lambda event, fields: self.events.append((event, fields)),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it beside the block."""
        async with beside(self.records.run(), name="records"), beside(self.restoring.run(), name="restoring"):
            yield

    async def acks(self) -> None:
        """Acknowledge a config, as one that has ever run."""
        await self._client.kv.put(KEYS.ack(self.name), encode(Ack(applied=1)))

    def notes(self, *deliveries: str, revision: int = 5, life: str = "before") -> None:
        """Have journalled these."""
        for delivery in deliveries:
            record = Record(state="intent", name=delivery, names=("1",))
            self.records.note(
                Committed(at=0, term=Term(life, 1), revision=revision, transfer="t", delivery=delivery, record=record)
            )

    async def writes(self, *deliveries: str) -> None:
        """Have journalled these, and brought them to the disk."""
        async with beside(self.records.run(), name="records"):
            self.notes(*deliveries)
            await eventually(lambda: not self.records.waiting())

    async def posted(self) -> bytes | None:
        """Read what it says to have posted."""
        return (await self._client.kv.get(KEYS.restore_posted(self.name))).value

    async def posts(self) -> None:
        """Wait until it has posted."""
        await eventually(self.posted, what=f"{self.name} has posted")


async def journal(client: EtcdClient) -> list[str]:
    """List what is open by etcd."""
    return [kv.key.removeprefix(KEYS.journal("t")) for kv in (await client.kv.get_prefix(KEYS.journals)).kvs]


async def incarnation(client: EtcdClient) -> str:
    """Read which one etcd is in."""
    return ((await client.kv.get(KEYS.incarnation)).value or b"").decode()


async def lose(etcd: Etcd, made: Management, backup: Path, *nodes: Node) -> None:
    """Restore etcd as it was a moment ago, after everybody has counted."""
    await etcd.ctl("snapshot", "save", str(backup))
    await made.custody.check()
    for node in nodes:
        await node.restoring.confirm()
    await etcd.restore(backup)


async def test_a_gate_that_comes_back_with_a_backup(own_etcd: Etcd, client: EtcdClient, tmp_path: Path) -> None:
    """Goal: what was posted in a life before is not merged into a store that went back: it would look like the newest.

    Method: a backup while the gate stands and all have posted; end it; restore that one. The controller merges nothing,
    begins a new incarnation and waits for the same nodes, also for one of which the backup knows only by the gate.
    """
    a, b = Node(client, tmp_path / "a"), Node(client, tmp_path / "b", "b")
    async with management(own_etcd, tmp_path / "ctl", CLUSTER) as made:
        await made.custody.check()
        for node in (a, b):
            await node.acks()
            await node.restoring.confirm()
        await made.custody.check()
        await lose(own_etcd, made, tmp_path / "one", a, b)
        assert await made.custody.check() == "rebuild"
        a.notes("d")
        async with a.running(), b.running():
            await asyncio.gather(a.posts(), b.posts())
        await client.kv.delete(KEYS.ack("b"))
        await own_etcd.ctl("snapshot", "save", str(tmp_path / "two"))
        first = await incarnation(client)
        assert await made.restoring.check() is None
        assert await journal(client) == ["d"]
        await made.custody.check()
        await own_etcd.restore(tmp_path / "two")

        waits = await made.restoring.check()
        assert waits is not None
        assert waits.missing == ("a", "b")
        assert waits.gate.was == first
        assert await journal(client) == []
        for node in (a, b):
            with pytest.raises(Unavailable, match="nodes have not posted"):
                await node.restoring.confirm()
        async with a.running(), b.running():
            await asyncio.gather(a.posts(), b.posts())
            assert await made.restoring.check() is None
            await eventually(lambda: a.restoring.withheld.value == b.restoring.withheld.value == "")
        assert await journal(client) == ["d"]


async def test_two_controllers_begin_one_incarnation(
    own_etcd: Etcd, client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: nodes post once. Method: a second controller acts right after the first one has heard of it."""
    home = keys_in(tmp_path / "ctl", CLUSTER)
    node = Node(client, tmp_path / "a")
    async with (
        management(own_etcd, tmp_path / "ctl", CLUSTER, home) as one,
        management(own_etcd, tmp_path / "two", CLUSTER, home) as two,
    ):
        (tmp_path / "two").mkdir()
        await one.custody.check()
        await node.restoring.confirm()
        await own_etcd.ctl("snapshot", "save", str(tmp_path / "backup"))
        await node.restoring.confirm()
        await own_etcd.restore(tmp_path / "backup")
        with pytest.raises(Unavailable, match="gone back"):
            await node.restoring.confirm()

        went_back = one.custody._went_back

        async def then_the_other() -> str:
            why = await went_back()
            assert await two.custody.check() == "rebuild"
            return why

        monkeypatch.setattr(one.custody, "_went_back", then_the_other)
        await one.custody.check()
        begun = await incarnation(client)
        monkeypatch.undo()
        assert await two.custody.check() == "none"
        assert await one.custody.check() == "none"
        assert await incarnation(client) == begun
        restore = await two.restoring.read()
        assert restore is not None
        assert restore.gate.lives == (home.pinned.incarnation,), "there was one life before"


async def test_ledgers_are_written_before_records(
    own_etcd: Etcd, client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: at a second restore no entry of a ledger that this one wrote looks newer than an open delivery.

    Method: another controller is ahead by one of two entries, so that this one's write of both is refused.
    """
    monkeypatch.setattr(restoring, "_CHANGES_PER_TXN", 2)
    a = Node(client, tmp_path / "a")
    async with management(own_etcd, tmp_path / "ctl", CLUSTER) as made:
        await made.custody.check()
        await a.acks()
        await a.restoring.confirm()
        await lose(own_etcd, made, tmp_path / "backup", a)
        assert await made.custody.check() == "rebuild"
        for path in ("x", "y"):
            entry = Committed(at=0, term=Term("before", 1), revision=4, transfer="t", path=path, kept=Kept(1, 1.0))
            a.records.note(entry)
        a.notes("d")
        async with a.running():
            await a.posts()
        txn = made.restoring._etcd.kv.txn
        entry_key = KEYS.ledger_entry("t", "x")

        async def overtaken(**given: Any) -> Any:
            if any(operation[0] == entry_key for operation in given["then"]) and await is_missing(client, entry_key):
                ahead = LedgerEntry(path="x", source=Kept(1, 1.0), delivery="")
                await client.kv.put(entry_key, json.encode(ahead))
            return await txn(**given)

        monkeypatch.setattr(made.restoring._etcd.kv, "txn", overtaken)
        assert await made.restoring.check() is None
        revisions = []
        for key in (entry_key, KEYS.ledger_entry("t", "y"), KEYS.record("t", "d")):
            kv = (await client.kv.get(key)).kv
            assert kv is not None
            revisions.append(kv.mod_revision)
        assert revisions == sorted(revisions)


async def is_missing(client: EtcdClient, key: str) -> bool:
    """Say whether etcd has no such key."""
    return (await client.kv.get(key)).kv is None


async def test_an_agent_that_is_killed_amid_posting(
    own_etcd: Etcd, client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: what it posts is whole. Method: end it after its first portions; begin it anew with its folder.

    Meanwhile an operator speaks of nodes that are not there, and names one twice.
    """
    monkeypatch.setattr(recall, "PORTION_BYTES", 200)
    a, b, other = Node(client, tmp_path / "a"), Node(client, tmp_path / "b", "b"), Node(client, tmp_path / "o", "o")
    names = [f"d{n:03}" for n in range(200)]
    async with management(own_etcd, tmp_path / "ctl", CLUSTER) as made:
        await made.custody.check()
        for node in (a, b, other):
            await node.acks()
            await node.restoring.confirm()
        await a.writes(*names)
        await lose(own_etcd, made, tmp_path / "backup", a)
        assert await made.custody.check() == "rebuild"
        async with a.running():
            await eventually(lambda: client.kv.count_prefix(KEYS.posted_records), every_s=0.001)
        assert await a.posted() is None, "it is amid it"
        waits = await made.restoring.leave_out(["b", "b"], "ann")
        assert waits is not None
        assert waits.missing == ("a", "o")
        a = Node(client, tmp_path / "a")
        async with a.running(), other.running():
            await asyncio.gather(a.posts(), other.posts())
        assert await made.restoring.check() is None
        assert await journal(client) == names
        assert await made.restoring.read() is None
        left = [kv.key for kv in (await client.kv.get_prefix(f"{KEYS.prefix}re")).kvs]
        assert left == [], "all of it goes with the gate"


async def test_a_full_disk_does_not_hold_up_a_restore(own_etcd: Etcd, client: EtcdClient, tmp_path: Path) -> None:
    """Goal: what waits for the disk is posted too. Method: a file where the folder of records should be.

    One delivery is open in the backup, and was finished here since.
    """
    async with management(own_etcd, tmp_path / "ctl", CLUSTER) as made:
        await made.custody.check()
        a = Node(client, tmp_path / "a")
        await a.acks()
        await a.restoring.confirm()
        await client.kv.put(KEYS.record("t", "old"), json.encode(Record(state="intent", name="old", names=("1",))))
        term = Term(await incarnation(client), 1)
        await lose(own_etcd, made, tmp_path / "backup", a)
        assert await made.custody.check() == "rebuild"
        (tmp_path / "a" / "records").touch()
        a.notes("d1", "d2")
        a.notes("old", life=term.incarnation)
        a.records.note(Committed(at=0, term=term, revision=1000, transfer="t", delivery="old"))
        async with a.running():
            await a.posts()
        assert await made.restoring.check() is None
        assert await journal(client) == ["d1", "d2"]


async def test_who_has_records_is_not_new(own_etcd: Etcd, client: EtcdClient, tmp_path: Path) -> None:
    """Goal: no node's records are passed over.

    Method: post with a folder that was not mounted; then with its own, which lacks `life.json` as after an upgrade.
    """
    async with management(own_etcd, tmp_path / "ctl", CLUSTER) as made:
        await made.custody.check()
        a = Node(client, tmp_path / "a")
        await a.acks()
        await a.restoring.confirm()
        await a.writes("d")
        await lose(own_etcd, made, tmp_path / "backup", a)
        assert await made.custody.check() == "rebuild"
        shutil.copytree(tmp_path / "a", tmp_path / "own")
        shutil.rmtree(tmp_path / "a")
        async with Node(client, tmp_path / "a").running():
            await a.posts()
        waits = await made.restoring.check()
        assert waits is not None
        assert [node.standing for node in waits.nodes] == ["new"]
        (tmp_path / "own" / life.FILE).unlink()
        async with Node(client, tmp_path / "own").running():

            async def has_ended() -> bool:
                return await made.restoring.check() is None

            await eventually(has_ended)
        assert await journal(client) == ["d"]


async def test_an_etcd_that_was_emptied(own_etcd: Etcd, client: EtcdClient, tmp_path: Path) -> None:
    """Goal: it is made whole, also where no config was ever applied, and the node that is off is not passed over.

    Method: `etcdctl del --prefix`, and once more while the first restore waits for it.
    """
    async with management(own_etcd, tmp_path / "ctl", CLUSTER) as made:
        await made.custody.check()
        a, other = Node(client, tmp_path / "a"), Node(client, tmp_path / "o", "o")
        for node in (a, other):
            await node.acks()
            await node.restoring.confirm()
        await made.custody.check()
        a.notes("d")
        lives = [await incarnation(client)]
        async with other.running():
            for _ in range(2):
                await own_etcd.ctl("del", "--prefix", KEYS.prefix)
                with pytest.raises(Unavailable, match="no incarnation"):
                    await other.restoring.confirm()

                async def waits() -> bool:
                    await made.custody.check()
                    restore = await made.restoring.check()
                    return restore is not None and restore.missing == ("a",)

                await eventually(waits)
                await other.acks()
                assert await made.custody.check() == "none"
                lives.append(await incarnation(client))
        assert len(set(lives)) == 3
        async with a.running():
            await a.posts()
        assert await made.restoring.check() is None
        assert await journal(client) == ["d"]
        assert await made.custody.check() == "none"


async def test_many_groups_ask_at_one_time(own_etcd: Etcd, client: EtcdClient, tmp_path: Path) -> None:
    """Goal: to lead some hundred groups costs no look of each. Method: ask for all; then again, after a change."""
    await client.kv.put(KEYS.incarnation, b"one")
    a = Node(client, tmp_path / "a")
    assert await asyncio.gather(*(a.restoring.confirm() for _ in range(200))) == ["one"] * 200
    mark = (await client.kv.get(KEYS.mark("node", "a"))).kv
    assert mark is not None
    assert mark.version <= 2
    await client.kv.put(KEYS.incarnation, b"two")
    assert await a.restoring.confirm() == "two", "nobody is answered by a look of before"


async def test_an_etcd_that_is_full_ends_no_leadership(
    own_etcd: Etcd, client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: what says nothing of a restore changes nothing. Method: etcd refuses a mark for want of space."""
    await client.kv.put(KEYS.incarnation, b"one")
    a = Node(client, tmp_path / "a")
    await a.restoring.confirm()
    txn = client.kv.txn

    async def refused(**given: Any) -> Any:
        if given["when"]:
            raise Exhausted("mvcc: database space exceeded")
        return await txn(**given)

    monkeypatch.setattr(client.kv, "txn", refused)
    with pytest.raises(Exhausted):
        await a.restoring.confirm()
    assert a.restoring.withheld.value == ""
