"""Which passes sweep stale temp files."""

from __future__ import annotations

from mft.transfers.schedule import SWEEP_FIRST, next_sweep


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
