"""Which faults come, in which order, from a seed. Pure: two runs of one seed have the same plan."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tests.faults.moment import State

SHORT_S, MIDDLE_S, LONG_S = (0.05, 1.0), (1.5, 4.0), (6.0, 9.0)
"""Bounds of how long a fault lasts: far below the time to live of a lease, near it, beyond it."""
AIMED = ("agent-kill", "agent-stop", "worker-kill", "worker-stop", "guardian-kill", "node-kill", "node-stop")
"""Kinds that are aimed at a state of a delivery."""
COVERED = ("agent-kill", "agent-stop", "worker-kill", "worker-stop")
"""Kinds each of which is to hit each state in a long run."""
_SHARE = 15
"""One of so many faults, at least, is of a kind for each of these."""
COVERING = 150
"""Faults of a run that must hit each state with each of these: eight and more are aimed by each, at five states."""
WEIGHTS = {
    "agent-kill": 3,
    "agent-stop": 3,
    "worker-kill": 3,
    "worker-stop": 3,
    "guardian-kill": 2,
    "node-kill": 3,
    "node-stop": 3,
    "sshd-restart": 2,
    "link-cut": 4,
    "link-stall": 3,
    "link-slow": 1,
    "etcd-restart": 2,
    "etcd-stop": 2,
    "etcd-road-cut": 2,
    "etcd-road-stall": 2,
    "etcd-leader-kill": 2,
    "etcd-leader-stop": 2,
    "etcd-leader-move": 2,
    "etcd-member-kill": 1,
    "etcd-member-stop": 1,
    "partner-full": 2,
    "source-full": 1,
}
"""Kind → how often it comes, beside the others."""


MEMBERS = frozenset(kind for kind in WEIGHTS if kind.startswith(("etcd-leader-", "etcd-member-")))
"""Kinds that need several members of etcd: with one they would be what `etcd-restart` and `etcd-stop` are."""


def kinds_of(etcd_members: int) -> tuple[str, ...]:
    """Give the kinds of fault that there are with so many members of etcd."""
    return tuple(kind for kind in WEIGHTS if etcd_members > 1 or kind not in MEMBERS)


class Fault(Struct, frozen=True, kw_only=True):
    """One fault to come."""

    number: int
    kind: str
    aim: State | None
    """Which state of a delivery it is to hit."""
    lasts_s: float
    at: float
    """At which share of the files of its stretch it comes, from 0 to 1."""
    overlaps: bool
    """Whether the next fault does not wait for the end of this one."""
    seed: int
    """For what is left to its own choice."""


Hits = Sequence[tuple[str, State | None]]
"""Kind of fault, and the state of a delivery that it hit."""


def states_of(flow: str) -> tuple[State, ...]:
    """Give the states that there are: of sources that are kept none is removed, so what is done shows as removed."""
    return tuple(state for state in State if flow != "copy" or state is not State.DONE)


def aimed(fault: Fault, hit: Hits, states: Sequence[State]) -> Fault:
    """Aim a fault of a covered kind at the state that its kind has hit least, given what was hit so far.

    Some states pass so quickly that most faults aimed at them miss: without this none might ever hit them.
    """
    if fault.kind not in COVERED or fault.aim is None:
        return fault
    counts = Counter(state for kind, state in hit if kind == fault.kind and state)
    least = min((counts[state], state is not fault.aim, state) for state in states)
    return replace(fault, aim=least[2])


def never_hit(hit: Hits, states: Sequence[State]) -> tuple[str, ...]:
    """Name what was never hit by the covered kinds, given what each fault that struck has hit."""
    return tuple(f"{kind} at {state}" for kind in COVERED for state in states if (kind, state) not in hit)


def plan(seed: int, count: int, kinds: Sequence[str] = tuple(WEIGHTS), lasts_s_max: float = 9.0) -> list[Fault]:
    """Draw the faults. As far as there are enough each kind comes once, and each state with several kinds."""
    draw = random.Random(f"plan {seed}")
    drawn = draw.sample(kinds, len(kinds)) if count >= len(kinds) else []
    drawn += ([kind for kind in COVERED if kind in kinds] * (count // _SHARE))[: count - len(drawn)]
    drawn += draw.choices(kinds, [WEIGHTS[kind] for kind in kinds], k=count - len(drawn))
    draw.shuffle(drawn)
    aims = _aims(draw)
    return [_fault(draw, number, kind, aims, lasts_s_max) for number, kind in enumerate(drawn)]


def _aims(draw: random.Random) -> list[State]:
    """Give the states in a random order, to be used in turn, so that none is left out."""
    return draw.sample(list(State), len(State))


def _fault(draw: random.Random, number: int, kind: str, aims: list[State], lasts_s_max: float) -> Fault:
    aim = None
    if kind in AIMED and draw.random() < 0.85:
        aim = aims.pop(0)
        aims.append(aim)
    return Fault(
        number=number,
        kind=kind,
        aim=aim,
        lasts_s=min(draw.uniform(*draw.choice((SHORT_S, MIDDLE_S, LONG_S))), lasts_s_max),
        at=draw.uniform(0.05, 0.7),
        overlaps=draw.random() < 0.3,
        seed=draw.getrandbits(32),
    )
