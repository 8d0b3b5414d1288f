"""What all instances say of themselves, put together: who is there, who leads, who runs which version. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from mft.cluster.keys import Keys
from mft.cluster.membership import Ack, Alive, decode_ack, decode_alive, decode_candidate
from mft.etcd.records import KeyValue

State = Literal["ready", "degraded", "starting", "away", "expected"]
"""ready: serves all that the config wants. degraded: part of it does not run, or it could not take the newest version.
starting: there, not ready yet. away: was there. expected: named in the config, never seen."""


class NodeState(Struct, frozen=True, kw_only=True):
    """One instance as an administrator sees it."""

    name: str
    role: str = ""
    address: str = ""
    state: State
    program: str = ""
    started_at: float = 0.0
    version_wanted: int
    version_applied: int = 0
    version_rejected: int = 0
    reason: str = ""
    """Why the version was rejected."""
    stale: bool = False
    leads: tuple[str, ...] = ()
    """Leader groups that it leads now."""
    candidate: tuple[str, ...] = ()
    """Leader groups for which it stands."""
    problems: dict[str, str] = {}
    components: dict[str, str] = {}


class Elections(NamedTuple):
    """Leader group → names of its candidates, the leader first."""

    candidates: dict[str, tuple[str, ...]]

    def leaders(self) -> dict[str, str]:
        """Leader group → who leads it."""
        return {group: names[0] for group, names in self.candidates.items() if names}


def elections(keys: Keys, kvs: Iterable[KeyValue]) -> Elections:
    """Read all candidates' keys. The one created first leads."""
    groups: dict[str, list[KeyValue]] = {}
    for kv in kvs:
        group = kv.key.removeprefix(keys.elections).rpartition("/")[0]
        groups.setdefault(group, []).append(kv)
    return Elections(
        {
            group: tuple(_candidate_name(kv) for kv in sorted(members, key=lambda kv: kv.create_revision))
            for group, members in sorted(groups.items())
        }
    )


def nodes(
    keys: Keys, kvs: Iterable[KeyValue], elected: Elections, known: Iterable[str], wanted: Mapping[str, int]
) -> tuple[NodeState, ...]:
    """Put together what stands under `nodes/` and the names known from the config, by name.

    `wanted` is the version that each follows; under the name `""` the one for all that it does not name.
    """
    alive: dict[str, Alive] = {}
    acks: dict[str, Ack] = {}
    for kv in kvs:
        name, _, what = kv.key.removeprefix(keys.nodes).partition("/")
        try:
            if what == "alive":
                alive[name] = decode_alive(kv.value)
            elif what == "ack":
                acks[name] = decode_ack(kv.value)
        except msgspec.DecodeError:
            continue  # Of a newer program, or not ours: whoever wrote it is shown with what can be read.
    return tuple(
        _node(name, alive.get(name), acks.get(name), elected, wanted.get(name, wanted[""]))
        for name in sorted({*alive, *acks, *known})
    )


def greatest_version(keys: Keys, kvs: Iterable[KeyValue]) -> int:
    """Say the greatest version that any instance has acknowledged; 0 for none."""
    greatest = 0
    for kv in kvs:
        if kv.key.endswith("/ack"):
            try:
                ack = decode_ack(kv.value)
            except msgspec.DecodeError:
                continue
            greatest = max(greatest, ack.applied, ack.rejected)
    return greatest


def _node(name: str, alive: Alive | None, ack: Ack | None, elected: Elections, wanted: int) -> NodeState:
    acked = ack or Ack()
    return NodeState(
        name=name,
        role=alive.role if alive else "",
        address=alive.address if alive else "",
        state=_state(alive, ack),
        program=alive.program if alive else "",
        started_at=alive.started_at if alive else 0.0,
        version_wanted=wanted,
        version_applied=acked.applied,
        version_rejected=acked.rejected,
        reason=acked.reason,
        stale=acked.stale,
        leads=tuple(group for group, leader in elected.leaders().items() if leader == name),
        candidate=tuple(group for group, names in elected.candidates.items() if name in names),
        problems=dict(alive.problems) if alive else {},
        components=dict(acked.components),
    )


def _state(alive: Alive | None, ack: Ack | None) -> State:
    if alive is None:
        return "away" if ack else "expected"
    if alive.problems or (ack and (ack.rejected or ack.stale)):
        return "degraded"
    return "ready" if alive.ready else "starting"


def _candidate_name(kv: KeyValue) -> str:
    try:
        return decode_candidate(kv.value).name
    except msgspec.DecodeError:
        return "?"
