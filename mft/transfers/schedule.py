"""Which passes sweep stale temp files. Pure: the clock is an argument."""

from __future__ import annotations

from typing import NamedTuple

_SWEEP_LATE_S = 60.0
"""Wait before the last sweep after a failure: a connection that was given up may still have delivered what was on its
way, and made a temp file after the first sweep."""


class Sweep(NamedTuple):
    """From when on a pass removes stale temp files first, and how often that is still to be done."""

    due: float
    left: int


SWEEP_FIRST = Sweep(0.0, 2)
"""At the beginning of a term: whoever led before may have left some."""


def next_sweep(sweep: Sweep, began: float, problem: str, files_failed: int) -> Sweep:
    """Say when to sweep next, after a pass that began at `began` and ended like this."""
    if problem:
        return Sweep(began, 2)
    if files_failed:
        return Sweep(min(sweep.due, began + _SWEEP_LATE_S) if began < sweep.due else began + _SWEEP_LATE_S, 1)
    if began < sweep.due:
        return sweep
    return Sweep(began + _SWEEP_LATE_S if sweep.left > 1 else float("inf"), sweep.left - 1)
