"""What journal and ledgers must say after a restore: the newest of what etcd has kept and what nodes know. Pure.

Newer is what was written in a later incarnation, and within one what has the greater revision. What etcd holds was
written in the incarnation that stood there before, or earlier, or by an attempt to do just this.

- A delivery that a node knows to be open is open, unless another one knows that it was forgotten since.
- A kept source that a node knows to be delivered is delivered. An open delivery of it that is older than that is over,
  also if it is the very one: `done` and the ledger's entry are written together.
- Where records are missing for good, an `intent` may lack a name under which the missing node went on with it: such a
  delivery is uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import json, structs

from mft.cluster.keys import Keys
from mft.cluster.restore import Gate
from mft.etcd.ops import Delete, Put
from mft.etcd.records import KeyValue
from mft.model.delivery import LedgerEntry, Record
from mft.transfers.journal import decode_entry, decode_record
from mft.transfers.recall import Place, Portion
from mft.transfers.record_file import Committed

Age = tuple[int, int]
"""Which incarnation, counted from the first, and the revision in it."""


class Change(NamedTuple):
    """One key to be written, if it is as it was read."""

    operation: Put | Delete
    mod_revision: int


class _Known(NamedTuple):
    """What is known of one delivery."""

    record: Record | None
    """None: it was forgotten."""
    age: Age


class _Source(NamedTuple):
    """What is known of one kept source."""

    entry: LedgerEntry | None
    """None: the ledger has forgotten it, because it was gone."""
    age: Age


class Knowledge:
    """What nodes have posted, the newest of each, and how it compares with what etcd holds."""

    def __init__(self, keys: Keys, gate: Gate, began: int, portions: Iterable[Portion]) -> None:
        """`began` is etcd's revision in which the new incarnation began."""
        self._keys = keys
        self._gate = gate
        self._began = began
        self._ranks = {life: rank for rank, life in enumerate(gate.lives)}
        self._open: dict[Place, _Known] = {}
        self._sources: dict[Place, _Source] = {}
        for portion in portions:
            for committed in portion.open:
                self._learn_open(committed)
            for committed in portion.ledger:
                self._learn_source(committed)

    def transfers(self, journal: Sequence[KeyValue]) -> set[str]:
        """Name the transfers whose ledgers matter beside this journal."""
        open_there = {kv.key.removeprefix(self._keys.journals).partition("/")[0] for kv in journal}
        return {*open_there, *(transfer for places in (self._sources, self._open) for transfer, _ in places)}

    def _learn_open(self, committed: Committed) -> None:
        place, age = (committed.transfer, committed.delivery), self._age(committed)
        before = self._open.get(place)
        if before is None or before.age < age:
            self._open[place] = _Known(committed.record, age)

    def _learn_source(self, committed: Committed) -> None:
        place, age = (committed.transfer, committed.path), self._age(committed)
        before = self._sources.get(place)
        if before is not None and before.age >= age:
            return
        entry = None
        if committed.kept is not None:
            entry = LedgerEntry(path=committed.path, source=committed.kept, delivery=committed.delivery)
        self._sources[place] = _Source(entry, age)

    def _age(self, committed: Committed) -> Age:
        return self._ranks.get(committed.term.incarnation, -1), committed.revision

    def _age_there(self, kv: KeyValue) -> Age:
        """Say when a key was written that etcd holds."""
        rank = self._ranks.get(self._gate.was, -1)
        if kv.mod_revision >= self._began:
            rank = len(self._ranks)
        elif kv.mod_revision < self._gate.was_revision:
            rank -= 1
        return rank, kv.mod_revision

    def changes(
        self, journal: Sequence[KeyValue], ledgers: Sequence[KeyValue], left_out: Sequence[str]
    ) -> list[Change]:
        """Say what must be written. Done again after a part was written, it says the rest.

        Raises:
            MftError: a newer program wrote something that this one cannot read.
        """
        sources, written = self._merged_sources(ledgers)
        return [*written, *self._merged_records(journal, sources, left_out)]

    def _merged_sources(self, ledgers: Sequence[KeyValue]) -> tuple[Mapping[Place, _Source], list[Change]]:
        """Give the newest of each kept source, and what the ledgers lack."""
        stands: dict[Place, LedgerEntry] = {}
        revisions: dict[Place, int] = {}
        newest = dict(self._sources)
        for kv in ledgers:
            entry = decode_entry(kv)
            place = kv.key.removeprefix(self._keys.ledgers).partition("/")[0], entry.path
            stands[place], revisions[place] = entry, kv.mod_revision
            posted, age = self._sources.get(place), self._age_there(kv)
            # What is just as it was posted was written by this, perhaps: then it is as old as that.
            if posted is None or (posted.entry != entry and posted.age <= age):
                newest[place] = _Source(entry, age)
        changes = []
        for place, source in newest.items():
            if source.entry != stands.get(place):
                key = self._keys.ledger_entry(*place)
                operation = Put(key, json.encode(source.entry)) if source.entry is not None else Delete(key)
                changes.append(Change(operation, revisions.get(place, 0)))
        return newest, changes

    def _merged_records(
        self, journal: Sequence[KeyValue], sources: Mapping[Place, _Source], left_out: Sequence[str]
    ) -> list[Change]:
        stands: dict[Place, Record] = {}
        revisions: dict[Place, int] = {}
        newest = dict(self._open)
        for kv in journal:
            transfer, _, delivery = kv.key.removeprefix(self._keys.journals).partition("/")
            place = transfer, delivery
            stands[place], revisions[place] = decode_record(kv), kv.mod_revision
            posted, age = self._open.get(place), self._age_there(kv)
            # One that was written since the new incarnation began is what was posted, written by this.
            if posted is None or (kv.mod_revision < self._began and posted.age <= age):
                newest[place] = _Known(stands[place], age)
        changes = []
        for place, known in newest.items():
            wanted = self._settled(place, known, sources, left_out)
            if wanted != stands.get(place):
                key = self._keys.record(*place)
                operation = Put(key, json.encode(wanted)) if wanted is not None else Delete(key)
                changes.append(Change(operation, revisions.get(place, 0)))
        return changes

    def _settled(
        self, place: Place, known: _Known, sources: Mapping[Place, _Source], left_out: Sequence[str]
    ) -> Record | None:
        """Say what the record is to be; None: it is over."""
        record, age = known
        if record is None:
            return None
        if record.kept is not None:
            source = sources.get((place[0], record.name))
            if source is not None and source.entry is not None and source.age > age:
                return None
        if left_out and record.state == "intent":
            reason = f"after a restore of etcd the records of {', '.join(left_out)} are missing"
            return structs.replace(record, state="uncertain", reason=reason)
        return record
