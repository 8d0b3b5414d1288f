"""When a store is an old one."""

from __future__ import annotations

import pytest

from mft.cluster.life import Known, Mark, judge

KNOWN = Known(lives=("one", "two"), count=7)


@pytest.mark.parametrize(
    ("known", "life", "mark", "why"),
    [
        (None, "two", None, ""),
        (None, "two", Mark(incarnation="two", count=9), ""),
        (KNOWN, "two", Mark(incarnation="two", count=7), ""),
        (KNOWN, "two", Mark(incarnation="two", count=8), ""),  # The answer to the last one was lost.
        (KNOWN, "two", Mark(incarnation="two", count=6), "6 marks of 7"),
        (KNOWN, "two", Mark(incarnation="one", count=9), "does not know"),
        (KNOWN, "two", None, "does not know"),
        (KNOWN, "one", Mark(incarnation="one", count=99), "had ended"),
        (KNOWN, "three", None, ""),
        (KNOWN, "three", Mark(incarnation="two", count=7), ""),
    ],
)
def test_when_a_store_is_an_old_one(known: Known | None, life: str, mark: Mark | None, why: str) -> None:
    """Goal: neither a restore passes nor a false alarm stops all. Method: the table."""
    judged = judge(known, life, mark)
    assert why in judged
    assert bool(judged) is bool(why)
