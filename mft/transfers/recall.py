"""What record files say of the present: which deliveries are open, and which kept sources are delivered.

After a restore of etcd each node posts that, in portions, and a controller puts it together with what etcd still knows
(controller/restoring.py). One node knows only what it has written itself. What another one has done since is newer, or
is gone: a delivery that is open here alone was finished elsewhere; its source is gone, so the next pass forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import DecodeError, Struct, msgpack

from mft.errors import MftError
from mft.transfers.record_file import Committed

PORTION_BYTES = 512 * 1024
"""Of one key: etcd takes 1.5 MiB in a request."""

Place = tuple[str, str]
"""Transfer, and the delivery or the path of a source."""


class Portion(Struct, frozen=True, kw_only=True, array_like=True):
    """Some of what a node posts. Value of `records/<node>/<n>`."""

    open: tuple[Committed, ...] = ()
    """Records that were not forgotten here."""
    ledger: tuple[Committed, ...] = ()
    """Kept sources as they were when they were delivered."""


class Recalled(NamedTuple):
    """What a node knows."""

    open: dict[Place, Committed]
    ledger: dict[Place, Committed]


def recall(entries: Iterable[Committed]) -> Recalled:
    """Put the entries of one node together, in the order of its files."""
    known = Recalled({}, {})
    for entry in entries:
        if entry.delivery:
            _learn(known.open, (entry.transfer, entry.delivery), entry, is_there=entry.record is not None)
        if entry.path:
            _learn(known.ledger, (entry.transfer, entry.path), entry, is_there=entry.kept is not None)
    return known


def _learn(known: dict[Place, Committed], place: Place, entry: Committed, *, is_there: bool) -> None:
    before = known.get(place)
    if before is not None and before.term.incarnation == entry.term.incarnation and before.revision > entry.revision:
        return  # The clock was put back between two files.
    if is_there:
        known[place] = entry
    else:
        known.pop(place, None)


def portions(known: Recalled) -> Iterator[bytes]:
    """Encode for etcd, each portion for a key of its own."""
    encode = msgpack.Encoder().encode
    for is_open, entries in ((True, known.open.values()), (False, known.ledger.values())):
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
    try:
        return msgpack.decode(data, type=Portion)
    except DecodeError as error:
        raise MftError(
            f"the records that a node posted cannot be read by this program, perhaps it has a newer one: {error}"
        ) from error


def _portion(entries: list[Committed], is_open: bool) -> Portion:
    return Portion(open=tuple(entries)) if is_open else Portion(ledger=tuple(entries))
