"""The late-file alarm: which period is now, and whether enough came in one. Pure: the clock is an argument."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from mft.model.transfer_parts import ExpectSpec

_DAY_S = 86400
_MONDAY = date(1970, 1, 5)
"""From which periods of several days are counted, so that weeks begin on a Monday."""


class Period(NamedTuple):
    """In seconds since 1970; the end is not in it."""

    begin: float
    end: float


def period(spec: ExpectSpec, now: float) -> Period:
    """Say which period `now` (seconds since 1970) is in.

    Up to a day: each day is divided anew, from its midnight on, and the day's last one ends with it. Longer: so many
    whole days, counted from a Monday. A day is as long as the time zone has it: 23 hours, where clocks are set forward.
    """
    zone = ZoneInfo(spec.time_zone)
    today = datetime.fromtimestamp(now, zone).date()
    if spec.within_s > _DAY_S:
        days = max(1, round(spec.within_s / _DAY_S))
        first = today - timedelta(days=(today - _MONDAY).days % days)
        return Period(_midnight(first, zone), _midnight(first + timedelta(days=days), zone))
    midnight, next_midnight = _midnight(today, zone), _midnight(today + timedelta(days=1), zone)
    if spec.within_s == _DAY_S:
        return Period(midnight, next_midnight)
    begin = midnight + (now - midnight) // spec.within_s * spec.within_s
    return Period(begin, min(begin + spec.within_s, next_midnight))


def is_short(spec: ExpectSpec, delivered: int) -> bool:
    """Say whether so few files are a reason for the alarm, once their period is over."""
    return delivered < spec.files_min


def _midnight(day: date, zone: ZoneInfo) -> float:
    return datetime.combine(day, time(0), zone).astimezone(UTC).timestamp()
