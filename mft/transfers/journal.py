"""The fenced records of one leadership, written in groups.

Every transaction compares the term (the create revision of the leader's key, and the store's incarnation), the owner of
each transfer (`owners.py`) *and* the mod revision of each record it touches. So a leader whose term is over writes
nothing, however late its transaction arrives, and a transaction that was repeated cannot overwrite what followed its
first copy. Where files are expected, it counts those that it makes `done` (`arrivals.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Literal

import structlog
from msgspec import json

from mft.aio import Latest, backoff
from mft.cluster.keys import Keys
from mft.cluster.values import read
from mft.errors import Conflict, LeadershipLost, MftError, Unavailable
from mft.etcd.kv import Kv
from mft.etcd.ops import Condition, Get, create_revision, mod_revision, value
from mft.etcd.records import KeyValue, TxnResult
from mft.model.delivery import Kept, LedgerEntry, Record, Term
from mft.transfers.arrivals import Arrivals
from mft.transfers.journal_writes import RECORDS_PER_TXN_MAX, Commit, Write, divide, fail, transfers_of
from mft.transfers.owners import Owners
from mft.transfers.record_file import Committed, Note

_GATHER_S = 0.003
"""How long a write waits for others to go with it, right after a transaction: each costs about so much."""
_READ_AGAIN_MAX = 32
"""Writes of which one transaction can say what became of them: two keys each, an owner and a number of files."""
_RETRY_S_FIRST, _RETRY_S_MOST = 0.05, 1.0

_encode = json.Encoder().encode
_records_in = json.Decoder(Record)
_entries_in = json.Decoder(LedgerEntry)


def decode_record(kv: KeyValue) -> Record:
    """Read a record. Raises `MftError`."""
    return read(_records_in, kv.value, kv.key)


def decode_entry(kv: KeyValue) -> LedgerEntry:
    """Read a ledger's entry. Raises `MftError`."""
    return read(_entries_in, kv.value, kv.key)


class Refused(Conflict):
    """Some records of a commit were not as this term left them, and are not written. The others are."""

    def __init__(self, refused: Mapping[str, Conflict]) -> None:
        super().__init__("; ".join(str(error) for error in refused.values()))
        self.refused = refused
        """Delivery → why."""


class Journal:
    """Writes of one term. Belongs to a leadership and is thrown away with it."""

    def __init__(self, kv: Kv, keys: Keys, term: Term, leader_key: str, note: Note | None = None) -> None:
        """`note` is told of each write that etcd has agreed to."""
        self._kv = kv
        self._note = note
        self._keys = keys
        self._term = term
        self._leader_key = leader_key
        self._revisions: dict[str, int] = {}
        self._records: dict[str, dict[str, Record]] = {}
        self._ledgers: dict[str, dict[str, Kept]] = {}
        self._with_ledger: set[str] = set()
        self._owners = Owners(kv, keys, leader_key.removeprefix(keys.elections).partition("/")[0], self._term_holds())
        self._arrivals = Arrivals(kv, keys)
        self._queue: asyncio.Queue[Commit] = asyncio.Queue()  # Each who asks waits, so it has its bound.
        self._queued = 0
        """Writes in the queue."""
        self._commits: Latest[Counter[str]] = Latest(Counter())
        self._is_open = True
        self._log = structlog.get_logger()

    async def load_all(self, transfers: Set[str] | None = None) -> None:
        """Read the open records of every transfer, in one listing: a leader may have ten thousand, most without any.

        With `transfers` only theirs are learned. Their ledgers are read when they are needed.

        Raises:
            Unavailable: etcd cannot be reached.
        """
        await self._owners.load()
        await self._arrivals.load()
        records: dict[str, dict[str, Record]] = {}
        for kv in (await self._kv.get_prefix(self._keys.journals)).kvs:
            transfer, delivery = self._keys.delivery_of(kv.key)
            if transfers is None or transfer in transfers:
                self._revisions[kv.key] = kv.mod_revision
                records.setdefault(transfer, {})[delivery] = decode_record(kv)
        for transfer in self._records.keys() - records.keys() if transfers is None else transfers:
            self._records.pop(transfer, None)
            self._with_ledger.discard(transfer)
        self._records |= records

    async def load(self, transfer: str) -> None:
        """Read a transfer's open records and its ledger; from then on this object knows them, for it alone writes them.

        Raises:
            Unavailable: etcd cannot be reached.
        """
        await self._owners.load(transfer)
        await self._arrivals.load(transfer)
        prefix = self._keys.journal(transfer)
        records = {}
        for kv in (await self._kv.get_prefix(prefix)).kvs:
            self._revisions[kv.key] = kv.mod_revision
            records[kv.key.removeprefix(prefix)] = decode_record(kv)
        self._records[transfer] = records
        await self.load_ledger(transfer)

    async def load_ledger(self, transfer: str) -> None:
        """Read a transfer's ledger. Raises `Unavailable` if etcd cannot be reached."""
        ledger = {}
        for kv in (await self._kv.get_prefix(self._keys.ledger(transfer))).kvs:
            self._revisions[kv.key] = kv.mod_revision
            entry = decode_entry(kv)
            ledger[entry.path] = entry.source
        self._ledgers[transfer] = ledger
        self._with_ledger.add(transfer)

    def has_ledger(self, transfer: str) -> bool:
        """Say whether the transfer's ledger is known here."""
        return transfer in self._with_ledger

    async def settled(self, transfer: str) -> None:
        """Return when no commit of this transfer is under way: what an earlier run began, a later one then knows.

        A transfer that another leader group had is this group's from then on.

        Raises:
            Conflict: another group has just taken it.
            LeadershipLost: the term has ended.
            Unavailable: etcd cannot be reached.
        """
        async for commits in self._commits.follow():
            if not commits[transfer]:
                break
        if await self._owners.take(transfer):
            await self.load(transfer)

    def open_records(self, transfer: str) -> Mapping[str, Record]:
        """Give delivery → record, as last committed."""
        return dict(self._records.get(transfer, {}))

    def ledger(self, transfer: str) -> Mapping[str, Kept]:
        """Give kept source → as it was when it was delivered."""
        return dict(self._ledgers.get(transfer, {}))

    def arrived(self, transfer: str) -> int:
        """Say how many of the transfer's files were ever delivered while they were expected."""
        return self._arrivals.files(transfer)

    async def commit(
        self, transfer: str, puts: Mapping[str, Record], forgets: tuple[str, ...], *, are_expected: bool = False
    ) -> None:
        """Write these records and remove those; return when etcd has agreed to all of them.

        `are_expected`: each file that is delivered by this is counted.

        Raises:
            LeadershipLost: the term has ended; nothing of this was or will be written.
            Refused: records are not as this term left them; the others are written.
        """
        self._count(transfer, 1)
        try:
            writes = [self._record_write(transfer, id, record) for id, record in puts.items()]
            for write in writes if are_expected else ():
                write.is_expected = write.record is not None and write.record.arrives
            await self._commit([*writes, *(self._record_write(transfer, id, None) for id in forgets)])
        finally:
            self._count(transfer, -1)

    def _count(self, transfer: str, more: int) -> None:
        commits = self._commits.value
        commits[transfer] += more
        self._commits.set(commits)

    async def _commit(self, writes: Sequence[Write]) -> None:
        refused: dict[str, Conflict] = {}
        for write, outcome in zip(writes, await self._write_each(writes), strict=True):
            if outcome is not None:
                if not isinstance(outcome, Conflict):
                    raise outcome
                refused[write.delivery] = outcome
        if refused:
            raise Refused(refused)

    async def forget_sources(self, transfer: str, paths: Sequence[str]) -> None:
        """Remove what the ledger says of sources that are no longer there. Raises as `commit` does."""
        ledger = self._ledgers.get(transfer, {})
        known = [path for path in paths if path in ledger]
        keys = {path: self._keys.ledger_entry(transfer, path) for path in known}
        await self._write_all([Write(key, None, transfer, path=path) for path, key in keys.items()])
        for path in known:
            ledger.pop(path, None)

    async def run(self) -> None:
        """Write what is asked for, as much in one transaction as has gathered; until cancelled."""
        batch: list[Write] = []
        left: list[Write] = []
        try:
            while True:
                is_busy = not self._queue.empty()
                left += self._dequeued(await self._queue.get())
                if is_busy and self._queued < RECORDS_PER_TXN_MAX // 2:
                    await asyncio.sleep(_GATHER_S)
                while left:
                    while not self._queue.empty() and len(left) < RECORDS_PER_TXN_MAX:
                        left += self._dequeued(self._queue.get_nowait())
                    batch, left = divide(left)
                    try:
                        left = await self._write(batch) + left
                    except MftError as error:
                        fail(batch, error)
        finally:
            self._is_open = False
            while not self._queue.empty():
                left += self._dequeued(self._queue.get_nowait())
            fail([*batch, *left], LeadershipLost("this node has stopped leading"))

    def _dequeued(self, commit: Commit) -> Sequence[Write]:
        self._queued -= len(commit.writes)
        return commit.writes

    def _record_write(self, transfer: str, id: str, record: Record | None) -> Write:
        """Make the write of a record. `intent` and `done` of a kept source compare the ledger, `done` also writes it.

        A record begins with `intent`, so "there is no record" is true again once it is forgotten: without the ledger a
        transaction that comes late would open a delivery a second time.
        """
        key = self._keys.record(transfer, id)
        if record is None:
            # What the ledger says of it is noted again: `done` may have been written by a leader that died over it.
            was = self._records.get(transfer, {}).get(id)
            if was is None or was.kept is None or self._ledgers.get(transfer, {}).get(was.name) != was.kept:
                return Write(key, None, transfer, id)
            return Write(key, None, transfer, id, None, was.name, was.kept)
        value = _encode(record)
        if record.kept is None or record.state == "uncertain":
            return Write(key, value, transfer, id, record)
        entry = _encode(LedgerEntry(path=record.name, source=record.kept, delivery=id))
        ledger_key = self._keys.ledger_entry(transfer, record.name)
        if record.state != "done":
            return Write(key, value, transfer, id, record, ledger_key=ledger_key)
        return Write(key, value, transfer, id, record, record.name, record.kept, ledger_key, entry)

    async def _write_all(self, writes: Sequence[Write]) -> None:
        """Queue the writes and wait until each is settled; raise the first error."""
        for outcome in await self._write_each(writes):
            if outcome is not None:
                raise outcome

    async def _write_each(self, writes: Sequence[Write]) -> list[MftError | None]:
        """Queue the writes and wait until each is settled. Returns what became of each; None: it is written."""
        if not writes:
            return []
        if not self._is_open:
            raise LeadershipLost("this node has stopped leading")
        commit = Commit(writes)
        self._queued += len(writes)
        self._queue.put_nowait(commit)
        await commit.settled()
        return [write.error for write in writes]

    async def _write(self, batch: list[Write]) -> list[Write]:
        """Make one transaction of the batch. Returns the writes that are certainly not applied and may be tried again.

        Raises:
            LeadershipLost: the term has ended.
        """
        for transfer in transfers_of(batch):
            if refusal := self._owners.refusal(transfer):
                fail([write for write in batch if write.transfer == transfer], refusal)
                batch = [write for write in batch if write.transfer != transfer]
        if not batch:
            return []
        compared = [key for write in batch for key in (write.key, write.ledger_key) if key]
        transfers, more = transfers_of(batch), self._arriving(batch)
        conditions = [
            *self._term_holds(),
            *self._owners.conditions(transfers),
            *self._arrivals.conditions(more),
            *(mod_revision(key) == self._revisions.get(key, 0) for key in compared),
        ]
        operations = [operation for write in batch for operation in write.operations()]
        try:
            shared = [*self._owners.claims(transfers), *self._arrivals.puts(more)]
            result = await self._kv.txn(when=conditions, then=[*operations, *shared])
        except Unavailable as error:
            self._log.warning("journal: the outcome of a transaction is unknown, reading again", reason=str(error))
        else:
            if result.succeeded:
                self._owners.settled(transfers, result.header.revision)
                self._arrivals.settled(more, result.header.revision)
                for write in batch:
                    self._settled(write, result.header.revision)
                return []
        parts = [batch[start : start + _READ_AGAIN_MAX] for start in range(0, len(batch), _READ_AGAIN_MAX)]
        return [again for part in parts for again in await self._read_again(part)]

    def _arriving(self, batch: Sequence[Write]) -> Counter[str]:
        """Give transfer → files that these writes make delivered: one that was `done` before is not counted again."""
        new: Counter[str] = Counter()
        for write in batch:
            if write.is_expected:
                was = self._records.get(write.transfer, {}).get(write.delivery)
                new[write.transfer] += was is None or was.state != "done"
        return +new  # Without those that count nothing.

    async def _read_again(self, batch: list[Write]) -> list[Write]:
        """Find out what became of a transaction that failed or got no answer."""
        transfers, keys = transfers_of(batch), [(write.key, write.ledger_key or write.key + "/none") for write in batch]
        for wait_s in backoff(_RETRY_S_FIRST, _RETRY_S_MOST):
            try:
                result = await self._kv.txn(
                    when=self._term_holds(),
                    then=[
                        *(Get(key) for pair in keys for key in pair),
                        *(Get(self._keys.owner(id)) for id in transfers),
                        *(Get(self._keys.arrived(id)) for id in transfers),
                    ],
                    idempotent=True,
                )
                break
            except Unavailable:
                await asyncio.sleep(wait_s)
        if not result.succeeded:
            raise LeadershipLost("another term has begun")
        self._check_present(batch, result)
        after, ours = 2 * len(batch), {}
        for n, id in enumerate(transfers):
            ours[id] = self._owners.learn(id, result.listing(after + n).kv)
            number = result.listing(after + len(transfers) + n).kv
            self._arrivals.learn(id, number) if number is not None else self._arrivals.forget(id)
        again = []
        for index, write in enumerate(batch):
            kv, entry = result.listing(2 * index).kv, result.listing(2 * index + 1).kv
            became = self._became(write, kv.value if kv else None, kv.mod_revision if kv else 0)
            seen = self._revisions.get(write.ledger_key, 0)
            if became == "untouched" and write.ledger_key and (entry.mod_revision if entry else 0) != seen:
                became = "foreign"
            match became:
                case "applied":
                    self._settled(write, kv.mod_revision if kv else result.header.revision)
                case "untouched" if not ours[write.transfer]:
                    fail([write], self._owners.lose(write.transfer))
                case "untouched":
                    again.append(write)
                case "foreign":
                    if not ours[write.transfer]:
                        self._owners.lose(write.transfer)
                    self._learn(write.key, kv)
                    if write.ledger_key and write.record:
                        self._learn_entry(write.ledger_key, write.transfer, write.record.name, entry)
                    fail([write], Conflict(f"the record {write.key} is not as this term left it"))
        return again

    def _check_present(self, batch: Sequence[Write], result: TxnResult) -> None:
        """Return if no record is older than it was; else etcd was restored, too fast for the lease to end.

        What it says now must not be learnt: it knows less of temp names than there are.
        """
        for index, write in enumerate(batch):
            kv = result.listing(2 * index).kv
            if self._revisions.get(write.key, 0) > (kv.mod_revision if kv else result.header.revision):
                raise LeadershipLost(f"etcd has gone back in time: {write.key} is older than it was")

    def _learn(self, key: str, kv: KeyValue | None) -> None:
        """Take note of what somebody else made of a record, so that the next pass goes on from there.

        That may be an operator, or the leader of another group to which the transfer has just been moved.
        """
        if not key.startswith(self._keys.journals):
            self._revisions[key] = kv.mod_revision if kv else 0
            return
        transfer, delivery = self._keys.delivery_of(key)
        if kv is None:
            self._revisions.pop(key, None)
            self._records.get(transfer, {}).pop(delivery, None)
        else:
            self._revisions[key] = kv.mod_revision
            self._records.setdefault(transfer, {})[delivery] = decode_record(kv)

    def _learn_entry(self, key: str, transfer: str, path: str, kv: KeyValue | None) -> None:
        """Take note of what the ledger says of a source now: without that every later attempt would be refused too."""
        self._revisions[key] = kv.mod_revision if kv else 0
        if kv is None:
            self._ledgers.get(transfer, {}).pop(path, None)
        else:
            self._ledgers.setdefault(transfer, {})[path] = decode_entry(kv).source

    def _became(self, write: Write, value: bytes | None, revision: int) -> Literal["applied", "untouched", "foreign"]:
        """Conclude from what stands in etcd now whether a write was applied; pure."""
        seen = self._revisions.get(write.key, 0)
        if value == write.value and revision != seen:
            return "applied"
        if revision == seen:
            return "applied" if write.value is None and revision == 0 else "untouched"
        return "foreign"

    def _settled(self, write: Write, revision: int) -> None:
        """Take note of what etcd has agreed to, also where nobody waits for it any more."""
        if write.value is None:
            self._revisions.pop(write.key, None)
        else:
            self._revisions[write.key] = revision
        if write.record is not None:
            self._records.setdefault(write.transfer, {})[write.delivery] = write.record
        elif write.delivery:
            self._records.get(write.transfer, {}).pop(write.delivery, None)
        if write.entry is not None and write.kept is not None:
            self._revisions[write.ledger_key] = revision
            self._ledgers.setdefault(write.transfer, {})[write.path] = write.kept
        if self._note is not None:
            self._note(
                Committed(
                    at=time.time(),
                    term=self._term,
                    revision=revision,
                    transfer=write.transfer,
                    delivery=write.delivery,
                    record=write.record,
                    path=write.path,
                    kept=write.kept,
                )
            )
        write.settle()

    def _term_holds(self) -> list[Condition]:
        return [
            create_revision(self._leader_key) == self._term.create_revision,
            value(self._keys.incarnation) == self._term.incarnation.encode(),
        ]
