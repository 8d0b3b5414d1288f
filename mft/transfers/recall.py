"""What record files say of the present: which deliveries are open, and which kept sources are delivered.

After a restore of etcd each node posts that, in portions, and a controller puts it together with what etcd still knows
(controller/restoring.py). One node knows only what it has written itself: what it began may have been finished by
another one. So each also posts what it has forgotten that others may take for open: where it was not alone with a
delivery, and what stands in the backup's journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import chain
from typing import NamedTuple

from msgspec import Struct, msgpack

from mft.cluster.values import read
from mft.model.delivery import Record, Term
from mft.transfers.record_file import Committed

PORTION_BYTES = 512 * 1024
"""Of one key: etcd takes 1.5 MiB in a request."""

Place = tuple[str, str]
"""Transfer, and the delivery or the path of a source."""


class Portion(Struct, frozen=True, kw_only=True, array_like=True):
    """Some of what a node posts. Value of `records/<node>/<n>`."""

    open: tuple[Committed, ...] = ()
    """Records as they were left here; without one it was forgotten here."""
    ledger: tuple[Committed, ...] = ()
    """Kept sources as they were when they were delivered; or that they are forgotten, being gone."""


_portions_in = msgpack.Decoder(Portion)


class Recalled(NamedTuple):
    """What a node knows."""

    open: dict[Place, Committed]
    over: dict[Place, Committed]
    """Forgotten here, and perhaps known as open elsewhere."""
    ledger: dict[Place, Committed]


def recall(
    entries: Iterable[Committed], standing: Set[Place] = frozenset(), sources: Set[Place] = frozenset()
) -> Recalled:
    """Put the entries of one node together, in the order of its files.

    `standing` is what etcd has for open, `sources` what its ledgers have: of these it counts that they are over.
    """
    known = Recalled({}, {}, {})
    alone: dict[Place, Term] = {}
    for entry in entries:
        if entry.delivery:
            _learn_record(known, alone, entry, standing)
        if entry.path:
            _learn_source(known.ledger, entry, sources)
    return known


def _learn_record(known: Recalled, alone: dict[Place, Term], entry: Committed, standing: Set[Place]) -> None:
    """Take note of a record. `alone` is open deliveries of which all was written here, in one term."""
    place = entry.transfer, entry.delivery
    before = known.open.get(place) or known.over.get(place)
    if _is_older(entry, before):
        return
    if entry.record is None:
        known.open.pop(place, None)
        if alone.pop(place, None) != entry.term or place in standing:
            known.over[place] = entry
        return
    if before is None and _begins(entry.record):
        alone[place] = entry.term
    elif alone.get(place) != entry.term:
        alone.pop(place, None)
    known.over.pop(place, None)
    known.open[place] = entry


def _begins(record: Record) -> bool:
    """Say whether a delivery begins with this, unless it was taken over. If in doubt it does not."""
    return record.skipped or (record.state == "intent" and len(record.names) == 1)


def _learn_source(ledger: dict[Place, Committed], entry: Committed, sources: Set[Place]) -> None:
    place = entry.transfer, entry.path
    if _is_older(entry, ledger.get(place)):
        return
    if entry.kept is not None or place in sources:
        ledger[place] = entry
    else:
        ledger.pop(place, None)


def _is_older(entry: Committed, known: Committed | None) -> bool:
    """Say whether the clock was put back between two files."""
    return known is not None and known.term.incarnation == entry.term.incarnation and known.revision > entry.revision


def portions(known: Recalled) -> Iterator[bytes]:
    """Encode for etcd, each portion for a key of its own."""
    encode = msgpack.Encoder().encode
    for is_open, entries in ((True, chain(known.open.values(), known.over.values())), (False, known.ledger.values())):
        some: list[Committed] = []
        size_bytes = 0
        for entry in entries:
            size_bytes += len(encode(entry))
            some.append(entry)
            if size_bytes >= PORTION_BYTES:
                yield encode(_portion(some, is_open))
                some, size_bytes = [], 0
        if some:
            yield encode(_portion(some, is_open))


def decode_portion(data: bytes) -> Portion:
    """Decode what a node posted. Raises `MftError`: what cannot be read must not be passed over."""
    return read(_portions_in, data, "records/<node>")


def _portion(entries: list[Committed], is_open: bool) -> Portion:
    return Portion(open=tuple(entries)) if is_open else Portion(ledger=tuple(entries))
