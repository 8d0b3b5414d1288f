"""How many files came in this period, where some are expected, kept beside the schedule in etcd. Pure."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from mft.model.transfer_parts import ExpectSpec
from mft.transfers.expectation import is_short, period
from mft.transfers.starting import SlotState


class Short(NamedTuple):
    """A time in which too few files came. Seconds since 1970."""

    begin: float
    end: float
    files: int


def counted(state: SlotState, spec: ExpectSpec | None, arrived: int, now: float) -> tuple[SlotState, Short | None]:
    """Add the files that have arrived, and say whether a period has ended short: once, however long ago.

    The first period that counts is the first whole one. Those in which nobody counted were short too: nothing came.
    """
    if spec is None:
        return replace(state, period=0.0, files=0), None
    current = period(spec, now)
    if not state.period:
        return replace(state, period=current.end, files=0), None
    if now < state.period:
        return state, None
    last = period(spec, state.period)
    if current.begin < last.end:
        return replace(state, period=last.begin, files=state.files + arrived), None
    short = None
    if is_short(spec, state.files):
        short = Short(last.begin, current.begin, state.files)
    elif current.begin > last.end:
        short = Short(last.end, current.begin, 0)
    return replace(state, period=current.begin, files=arrived), short


def ends_at(state: SlotState, spec: ExpectSpec | None) -> float | None:
    """Say when the period that is counted ends; None: nothing is."""
    return period(spec, state.period).end if spec is not None and state.period else None
