"""When the next pass is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mft.model.transfers import TransferSpec
from mft.transfers.schedule import next_pass


def _spec(poll_interval_s: float) -> TransferSpec:
    return TransferSpec(
        source_location="a",
        source_path="",
        destination_location="b",
        destination_path="",
        poll_interval_s=poll_interval_s,
    )


def test_a_good_pass_is_followed_at_the_interval() -> None:
    """Goal: the interval counts from the begin of the last pass. Method: no failures."""
    assert next_pass(_spec(7.5), 100.0, 0) == 107.5


@given(st.floats(0.1, 1e6), st.floats(0, 1e9), st.integers(1, 10_000))
def test_failures_wait_longer_and_never_for_good(poll_interval_s: float, began: float, failures: int) -> None:
    """Goal: the wait grows to a bound and stays there. Method: any interval, time and number of failures."""
    wait_s = next_pass(_spec(poll_interval_s), began, failures) - began
    after_one_more_s = next_pass(_spec(poll_interval_s), began, failures + 1) - began
    assert 0.9 <= wait_s <= 301
    assert after_one_more_s >= wait_s
