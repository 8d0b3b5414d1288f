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

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Generic, NamedTuple, TypeVar

from msgspec import Struct, json, structs

from mft.cluster.keys import Keys
from mft.cluster.restore import Gate
from mft.etcd.ops import Delete, Put
from mft.etcd.records import KeyValue
from mft.model.delivery import LedgerEntry, Record
from mft.transfers.journal import decode_entry, decode_record
from mft.transfers.recall import Place, Portion
from mft.transfers.record_file import Committed

T = TypeVar("T")

Age = tuple[int, int]
"""Which incarnation, counted from the first, and the revision in it."""


class Change(NamedTuple):
    """One key to be written, if it is as it was read."""

    operation: Put | Delete
    mod_revision: int


class _Known(NamedTuple, Generic[T]):
    """What is known of one delivery, or of one kept source."""

    value: T | None
    """Its record, or the ledger's entry; None: it was forgotten."""
    age: Age


_Facts = dict[Place, _Known[T]]
_Standing = dict[Place, tuple[T, int]]
"""What etcd holds, and in which revision it was written."""


class Knowledge:
    """What nodes have posted, the newest of each, and how it compares with what etcd holds."""

    def __init__(self, keys: Keys, gate: Gate, began: int, portions: Iterable[Portion]) -> None:
        """`began` is etcd's revision in which the new incarnation began."""
        self._keys = keys
        self._gate = gate
        self._began = began
        self._ranks = {life: rank for rank, life in enumerate(gate.lives)}
        self._open: _Facts[Record] = {}
        self._sources: _Facts[LedgerEntry] = {}
        for portion in portions:
            for one in portion.open:
                _learn(self._open, (one.transfer, one.delivery), one.record, self._age(one))
            for one in portion.ledger:
                _learn(self._sources, (one.transfer, one.path), _entry(one), self._age(one))

    def transfers(self, journal: Sequence[KeyValue]) -> set[str]:
        """Name the transfers whose ledgers matter beside this journal."""
        places = chain((self._keys.delivery_of(kv.key) for kv in journal), self._sources, self._open)
        return {transfer for transfer, _ in places}

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

    def _merged_sources(self, ledgers: Sequence[KeyValue]) -> tuple[_Facts[LedgerEntry], list[Change]]:
        """Give the newest of each kept source, and what the ledgers lack."""
        stands: _Standing[LedgerEntry] = {}
        newest = dict(self._sources)
        for kv in ledgers:
            entry = decode_entry(kv)
            place = self._keys.transfer_of(kv.key), entry.path
            stands[place] = entry, kv.mod_revision
            posted, age = self._sources.get(place), self._age_there(kv)
            # What is just as it was posted was written by this, perhaps: then it is as old as that.
            if posted is None or (posted.value != entry and posted.age <= age):
                newest[place] = _Known(entry, age)
        wanted = {place: known.value for place, known in newest.items()}
        return newest, _changes(wanted, stands, self._keys.ledger_entry)

    def _merged_records(
        self, journal: Sequence[KeyValue], sources: _Facts[LedgerEntry], left_out: Sequence[str]
    ) -> list[Change]:
        stands: _Standing[Record] = {}
        newest = dict(self._open)
        for kv in journal:
            place, record = self._keys.delivery_of(kv.key), decode_record(kv)
            stands[place] = record, kv.mod_revision
            posted, age = self._open.get(place), self._age_there(kv)
            # One that was written since the new incarnation began is what was posted, written by this.
            if posted is None or (kv.mod_revision < self._began and posted.age <= age):
                newest[place] = _Known(record, age)
        wanted = {place: self._settled(place, known, sources, left_out) for place, known in newest.items()}
        return _changes(wanted, stands, self._keys.record)

    def _settled(
        self, place: Place, known: _Known[Record], sources: _Facts[LedgerEntry], left_out: Sequence[str]
    ) -> Record | None:
        """Say what the record is to be; None: it is over."""
        record, age = known
        if record is None:
            return None
        if record.kept is not None:
            source = sources.get((place[0], record.name))
            if source is not None and source.value is not None and source.age > age:
                return None
        if left_out and record.state == "intent":
            reason = f"after a restore of etcd the records of {', '.join(left_out)} are missing"
            return structs.replace(record, state="uncertain", reason=reason)
        return record


def _learn(facts: _Facts[T], place: Place, value: T | None, age: Age) -> None:
    """Take note of what was posted, if it is the newest of its place."""
    before = facts.get(place)
    if before is None or before.age < age:
        facts[place] = _Known(value, age)


def _entry(committed: Committed) -> LedgerEntry | None:
    """Write what a ledger is to say of a kept source."""
    if committed.kept is None:
        return None
    return LedgerEntry(path=committed.path, source=committed.kept, delivery=committed.delivery)


def _changes(
    wanted: Mapping[Place, Struct | None], stands: Mapping[Place, tuple[Struct, int]], key: Callable[[str, str], str]
) -> list[Change]:
    """Say what must be written so that etcd says what is wanted, where it stands otherwise."""
    changes = []
    for place, value in wanted.items():
        standing, revision = stands.get(place, (None, 0))
        if value != standing:
            operation = Put(key(*place), json.encode(value)) if value is not None else Delete(key(*place))
            changes.append(Change(operation, revision))
    return changes
