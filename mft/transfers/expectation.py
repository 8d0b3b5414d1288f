"""The late-file alarm: which period is now, and whether enough came in one. Pure: the clock is an argument."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from mft.model.cron import next_slot
from mft.model.transfer_parts import ExpectSpec
from mft.model.windows import Holidays

NO_HOLIDAYS = Holidays(frozenset(), frozenset())
_DAY_S = 86400
_BACK = tuple(timedelta(hours=hours) for hours in (2, 24, 8 * 24, 40 * 24, 400 * 24))
"""How far back the last time of `by` is looked for, one after the other: it may be one of each minute, or of a year."""
_LONG = timedelta(days=10 * 365)
"""Where no such time comes any more."""
_MONDAY = date(1970, 1, 5)
"""From which periods of several days are counted, so that weeks begin on a Monday."""


class Period(NamedTuple):
    """In seconds since 1970; the end is not in it."""

    begin: float
    end: float


def period(spec: ExpectSpec, now: float, holidays: Holidays = NO_HOLIDAYS) -> Period:
    """Say which period `now` (seconds since 1970) is in.

    With `by`: from one of its times to the next, but for those on `holidays`. Else, up to a day: each day is divided
    anew, from its midnight on, and the day's last one ends with it. Longer: so many whole days, counted from a Monday.
    A day is as long as the time zone has it: 23 hours, where clocks are set forward.
    """
    zone = ZoneInfo(spec.time_zone)
    if spec.by:
        return _between_times(spec.by, zone, holidays, datetime.fromtimestamp(now, UTC))
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


def _between_times(by: tuple[str, ...], zone: ZoneInfo, holidays: Holidays, now: datetime) -> Period:
    for back in _BACK:
        begin, end = None, _next_time(by, zone, holidays, now - back)
        while end is not None and end <= now:
            begin, end = end, _next_time(by, zone, holidays, end)
        if begin is not None:
            return Period(begin.timestamp(), (end or begin + _LONG).timestamp())
    first = _next_time(by, zone, holidays, now)
    return Period((now - _BACK[-1]).timestamp(), (first or now + _LONG).timestamp())


def _next_time(by: tuple[str, ...], zone: ZoneInfo, holidays: Holidays, after: datetime) -> datetime | None:
    latest, found = after + _LONG, next_slot(by, zone, after)
    while found is not None and holidays.has(found.astimezone(zone).date()):
        found = next_slot(by, zone, found) if found < latest else None
    return found


def _midnight(day: date, zone: ZoneInfo) -> float:
    return datetime.combine(day, time(0), zone).astimezone(UTC).timestamp()
