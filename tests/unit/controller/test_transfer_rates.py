"""How fast runs are said to be."""

from __future__ import annotations

from mft.controller.transfers import Rates


def test_a_rate_is_that_of_the_last_seconds() -> None:
    """Goal: a rate that follows, without jumping. Method: a run that becomes ten times faster, another beside it."""
    rates, slow, fast = Rates(), ("a", "out", 1), ("b", "out", 1)
    assert rates.of(slow, 0, 0.0) == 0.0
    for second in range(1, 11):
        assert rates.of(slow, second * 100, float(second)) == 100.0
    assert rates.of(fast, 5, 10.0) == 0.0
    for second in range(11, 21):
        found = rates.of(slow, 1000 + (second - 10) * 1000, float(second))
    assert found == 1000.0
    assert rates.of(slow, 0, 21.0) == 0.0, "a run that begins anew is not going backwards"
