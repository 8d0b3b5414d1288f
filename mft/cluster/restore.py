"""What etcd says while nobody may lead: it was restored from a backup, or built anew, and nodes know more than it does.

meta/restore            Gate: written with the new incarnation, in one transaction; removed once all is merged
restore/noticed         Noticed: an instance has found that etcd went back; a controller then begins a new incarnation
restore/posted/<node>   Posted: after the last portion of the node's records, which stand under records/<node>/<n>
restore/without/<node>  LeftOut: an operator goes on without them

All but the first are written only while the incarnation is the one that they are about. A new one removes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from msgspec import DecodeError, Struct, json

from mft.cluster.keys import Keys
from mft.cluster.values import read

Standing = Literal["awaited", "new", "posted", "left out"]
"""`new`: it has no records of the time before, because it was installed anew since."""


class Gate(Struct, frozen=True, kw_only=True):
    """Value of `meta/restore`: nobody leads until these nodes have posted their records."""

    incarnation: str
    """Which it began with."""
    was: str
    """Incarnation that stood in etcd before; empty: etcd was empty."""
    was_revision: int
    """Of etcd, in which that one began."""
    lives: tuple[str, ...]
    """All incarnations before this one, the oldest first: revisions are compared within one only."""
    nodes: tuple[str, ...]
    """Whose records are waited for."""
    at: float
    """Seconds since 1970."""
    why: str


class Noticed(Struct, frozen=True, kw_only=True):
    """Value of `restore/noticed`."""

    by: str
    why: str


class Posted(Struct, frozen=True, kw_only=True):
    """Value of `restore/posted/<node>`."""

    deliveries: int
    """How many it knows to be open."""
    sources: int
    """How many kept sources it knows to be delivered, of which the ledger knows nothing."""
    is_new: bool = False
    """It joined after the restore, with an empty data folder: perhaps in the place of one that had records."""


class LeftOut(Struct, frozen=True, kw_only=True):
    """Value of `restore/without/<node>`."""

    by: str
    at: float


class Awaited(NamedTuple):
    """One node whose records are waited for, or were."""

    name: str
    standing: Standing
    deliveries: int = 0
    sources: int = 0
    left_out_by: str = ""


_gates_in, _posts_in, _left_out_in = json.Decoder(Gate), json.Decoder(Posted), json.Decoder(LeftOut)


def encode(value: Gate | Noticed | Posted | LeftOut) -> bytes:
    """Encode for etcd."""
    return json.encode(value)


def decode_gate(data: bytes) -> Gate:
    """Decode `meta/restore`. Raises `MftError`: who cannot read it must not lead."""
    return read(_gates_in, data, "meta/restore")


def decode_posted(data: bytes) -> Posted:
    """Decode `restore/posted/<node>`. Raises `MftError` if a newer program wrote it."""
    return read(_posts_in, data, "restore/posted")


def decode_noticed(data: bytes) -> Noticed:
    """Decode `restore/noticed`; what cannot be read says as much as what can."""
    try:
        return json.decode(data, type=Noticed)
    except DecodeError:
        return Noticed(by="an instance", why="etcd went back")


def awaited(keys: Keys, gate: Gate, values: Mapping[str, bytes]) -> tuple[Awaited, ...]:
    """Say of each node how it is, by what stands under `restore/`; also of those that posted without being asked.

    Raises:
        MftError: a newer program wrote something that this one cannot read.
    """
    posts: dict[str, Posted] = {}
    without: dict[str, LeftOut] = {}
    for key, value in values.items():
        if key.startswith(keys.restore_posts):
            posts[key.removeprefix(keys.restore_posts)] = read(_posts_in, value, key)
        elif key.startswith(keys.restore_without):
            without[key.removeprefix(keys.restore_without)] = read(_left_out_in, value, key)
    return tuple(_one(name, posts.get(name), without.get(name)) for name in sorted({*gate.nodes, *posts}))


def _one(name: str, posted: Posted | None, left_out: LeftOut | None) -> Awaited:
    if posted is not None and not posted.is_new:
        return Awaited(name, "posted", posted.deliveries, posted.sources)
    if left_out is not None:
        return Awaited(name, "left out", left_out_by=left_out.by)
    return Awaited(name, "awaited" if posted is None else "new")
