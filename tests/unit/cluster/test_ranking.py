"""Who of several candidates is better, and to whom a leader gives way."""

from __future__ import annotations

import pytest

from mft.cluster.membership import Yielded
from mft.cluster.ranking import better, successor
from mft.model.leader_groups import LeaderGroupSpec

ORDERED = LeaderGroupSpec(preferred=("a", "b"))
EQUAL = LeaderGroupSpec()


def _after(**reached: int) -> Yielded:
    return Yielded(by="a", to="c", reason="", reached=reached)


@pytest.mark.parametrize(
    ("own", "waiting", "spec", "last", "expected"),
    [
        ("x", "", ORDERED, None, None),
        ("x", "yz", ORDERED, None, None),
        ("x", "yba", ORDERED, None, "a"),
        ("b", "xy", ORDERED, None, None),
        ("b", "xa", ORDERED, None, "a"),
        ("a", "bx", ORDERED, None, None),
        ("b", "a", EQUAL, None, None),
        ("a", "bc", ORDERED, _after(a=1, b=2, c=2), "b"),
        ("a", "cb", EQUAL, _after(a=1, b=2, c=2), "c"),
        ("b", "a", ORDERED, _after(a=1, b=2), None),
        ("new", "ab", EQUAL, _after(a=0, b=2), "b"),
        ("a", "b", ORDERED, _after(), None),
    ],
)
def test_better(own: str, waiting: str, spec: LeaderGroupSpec, last: Yielded | None, expected: str | None) -> None:
    """Goal: reach before preference, preference before order, and nobody lets an equal go first."""
    index = better(own, list(waiting), spec, last)
    assert (None if index is None else waiting[index]) == expected


@pytest.mark.parametrize(
    ("reached", "waiting", "spec", "expected"),
    [
        ({"a": "", "b": "p"}, "b", EQUAL, "b"),
        ({"a": "p", "b": "p"}, "b", EQUAL, None),
        ({"a": "q", "b": "p"}, "b", EQUAL, None),
        ({"a": "q", "b": "p", "c": "pq"}, "bc", EQUAL, "c"),
        ({"x": "", "b": "p", "a": "p", "c": "p"}, "cba", ORDERED, "a"),
        ({"a": "", "b": "p"}, "c", EQUAL, None),
        ({"a": ""}, "bc", EQUAL, None),
    ],
    ids=["more", "equal", "another", "most", "preferred", "gone", "silent"],
)
def test_successor(reached: dict[str, str], waiting: str, spec: LeaderGroupSpec, expected: str | None) -> None:
    """Goal: a leader gives way only to one that reaches strictly more, and to the best of those."""
    own = next(iter(reached))
    sets = {name: frozenset(found) for name, found in reached.items()}
    assert successor(own, sets, list(waiting), spec) == expected


def test_a_preferred_one_needs_to_reach_no_less() -> None:
    """Goal: leadership is not given back to one that is cut off. Method: `more=0`, equal and less."""
    spec = LeaderGroupSpec(preferred=("a",), prefer_back=True)
    reach = frozenset({"p", "q"})
    assert successor("b", {"b": reach, "a": reach}, ["a"], spec, more=0) == "a"
    assert successor("b", {"b": reach, "a": frozenset({"p"})}, ["a"], spec, more=0) is None
