"""Which candidate of a leader group is better: pure, from the config and from why a leader last gave way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from mft.cluster.membership import Yielded
from mft.model.leader_groups import LeaderGroupSpec


class Standing(NamedTuple):
    """How good a candidate is; the lower the better."""

    unreached: int
    """Partners that the best one reached, and this one did not, when a leader gave way a short while ago; else 0."""
    place: int
    """In the config's list; behind it for those that are not named."""


def standing(name: str, spec: LeaderGroupSpec, last: Yielded | None) -> Standing:
    """Rank one candidate. Who was not asked when a leader gave way is taken for one that reaches nothing."""
    best = max(last.reached.values(), default=0) if last else 0
    place = spec.preferred.index(name) if name in spec.preferred else len(spec.preferred)
    return Standing(best - last.reached.get(name, 0) if last else 0, place)


def better(own: str, waiting: Sequence[str], spec: LeaderGroupSpec, last: Yielded | None) -> int | None:
    """Say which of those that wait, in order, is the best and better than `own`: its index, or None."""
    ranked = min(((standing(name, spec, last), n) for n, name in enumerate(waiting)), default=None)
    if ranked is None or ranked[0] >= standing(own, spec, last):
        return None
    return ranked[1]


def successor(
    own: str, reached: Mapping[str, Set[str]], waiting: Sequence[str], spec: LeaderGroupSpec, *, more: int = 1
) -> str | None:
    """Say to whom of those that wait `own` should give way: who reaches most, at least `more` partners more than it.

    `reached` is candidate → partners; who gave no answer is not in it. Of equal ones the preferred, then the first.
    """
    least = len(reached.get(own, ())) + more
    fit = [name for name in waiting if name in reached and len(reached[name]) >= least]
    return min(
        fit, key=lambda name: (-len(reached[name]), standing(name, spec, None), waiting.index(name)), default=None
    )
