"""When the next pass is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mft.model.transfers import TransferSpec
from mft.transfers.schedule import SWEEP_FIRST, next_pass, next_sweep


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


def test_stale_temp_files_are_swept_after_every_failure_and_once_more() -> None:
    """Goal: nothing stays at the partner for long, and its folder is not listed for ever. Method: passes in a row."""
    sweep = next_sweep(SWEEP_FIRST, 100.0, "", 0)
    assert sweep.due == 160.0
    assert next_sweep(sweep, 130.0, "", 0) == sweep
    assert next_sweep(sweep, 160.0, "", 0).due == float("inf")
    failed = next_sweep(sweep, 161.0, "the connection is gone", 3)
    assert failed.due <= 161.0
    again = next_sweep(failed, 170.0, "", 0)
    assert again.due == 230.0
    assert next_sweep(again, 230.0, "", 0).due == float("inf")


def test_files_that_fail_for_ever_do_not_have_the_folder_listed_each_time() -> None:
    """Goal: a bad file costs little. Method: it fails in each of many passes; count those that are to sweep."""
    sweep, sweeps = SWEEP_FIRST, 0
    for second in range(1, 601):
        sweeps += second >= sweep.due
        sweep = next_sweep(sweep, float(second), "", 1)
    assert 2 <= sweeps <= 12
