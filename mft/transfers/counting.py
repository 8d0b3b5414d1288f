"""Whether enough files came in a period, where some are expected: kept beside the schedule in etcd. Pure."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from mft.model.transfer_parts import ExpectSpec
from mft.model.windows import Holidays
from mft.transfers.expectation import NO_HOLIDAYS, is_short, period
from mft.transfers.starting import SlotState

_ROUNDING_S = 1e-3
"""Periods' ends and begins are multiples of any length, so that one may be a hair beside the other."""
_CLOCK_S = 60.0
"""A period that began so far in the future was begun by a clock that was wrong."""


class Short(NamedTuple):
    """A time in which too few files came. Seconds since 1970."""

    begin: float
    end: float
    files: int


def judged(
    state: SlotState, spec: ExpectSpec | None, arrived: int, now: float, holidays: Holidays = NO_HOLIDAYS
) -> tuple[SlotState, Short | None]:
    """Begin another period where one is over, and say whether that one was short: once, however long ago it ended.

    `arrived`: files ever delivered (`arrivals.py`). A leader calls this as soon as a period is over, and while none
    leads nothing is delivered: so the number is what it was at the period's end, also after an outage.

    Who expects files only since the middle of a period, or changes the periods, has the first whole one judged. Those
    that went by while nobody led were short: nothing came.
    """
    if spec is None:
        return replace(state, period=0.0, period_end=0.0, before=0), None
    current, own = period(spec, now, holidays), period(spec, state.period + _ROUNDING_S, holidays)
    if own.end != state.period_end or now < state.period - _CLOCK_S:
        return replace(state, period=now, period_end=current.end, before=arrived), None
    if current.begin < own.end - _ROUNDING_S:
        return state, None
    short, files = None, arrived - state.before
    if state.period == own.begin and is_short(spec, files):
        short = Short(own.begin, current.begin, files)
    elif current.begin > own.end + _ROUNDING_S:
        short = Short(own.end, current.begin, 0)
    return replace(state, period=current.begin, period_end=current.end, before=arrived), short
