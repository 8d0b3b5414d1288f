"""When the next pass of a transfer is due. Pure: the clock is an argument."""

from __future__ import annotations

from mft.model.transfers import TransferSpec

_RETRY_S_FIRST, _RETRY_S_MOST = 1.0, 300.0
"""Bounds of the wait after a pass that failed as a whole; it doubles from one to the other."""


def next_pass(spec: TransferSpec, began: float, failures: int) -> float:
    """Say when the next pass is due, on the clock of `began`, the start of the last one.

    `failures` counts the passes in a row that could not do what they should; a transfer never stops for good.
    """
    if failures == 0:
        return began + spec.poll_interval_s
    wait_s = _RETRY_S_FIRST * 2.0 ** min(failures - 1, 20)
    return began + min(wait_s, _RETRY_S_MOST)
