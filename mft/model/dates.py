"""Dates in expressions: `{year}`, `{month}`, `{day}` and the like, and offsets such as `-1d` or `-2d..0d`. Pure.

A date is that of a moment by the clocks of a time zone. Days and months are counted on the calendar and never in hours,
so a day of 23 or 25 hours, or one without midnight, is a day as any other. Hours are counted as they pass.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

DATES_MAX = 100
"""Dates that one expression may stand for: each is looked for in each name."""
_OFFSET = r"([+-]\d{1,4}|0)([hdm])"
_SPAN = re.compile(rf"{_OFFSET}(?:\.\.{_OFFSET})?")
_AT_MAX = 32503680000.0
"""The year 3000: a time that was read from a name may be anything, and the calendar of the library has an end."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Moment(NamedTuple):
    """A moment, and by which clocks its date is told.

    It has no local time: two of those are equal where an hour comes twice, and what is remembered for one would be
    taken for the other.
    """

    at: float
    """Seconds since 1970."""
    zone: tzinfo


class Span(NamedTuple):
    """Which dates are meant, counted from the moment's own."""

    first: int = 0
    last: int = 0
    unit: str = "d"
    """`h` hours, `d` days, `m` months."""


def parse_span(text: str) -> Span:
    """Read an offset: `-1d`, `+1d`, `-1m`, `-1h`, or from one to another, `-2d..0d`; empty: the moment's own date.

    Raises:
        ValueError: it cannot be read; the message says why.
    """
    if not text:
        return Span()
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(
            f"expected nothing after the last slash, or an offset such as -1d (days), -1m (months), -1h (hours) or "
            f"-2d..0d, an i before it; got {text!r}"
        )
    first, unit, last, last_unit = found.groups()
    span = Span(int(first), int(first if last is None else last), unit)
    if last_unit not in (None, unit):
        raise ValueError(f"the two ends of {text!r} must be counted in one unit, as in -2d..0d")
    if span.last < span.first:
        raise ValueError(f"{text!r} ends before it begins: write the earlier one first")
    if span.last - span.first >= DATES_MAX:
        raise ValueError(f"{text!r} is too long: {DATES_MAX} at most")
    return span


def is_same_hour(one: Moment, other: Moment) -> bool:
    """Say whether the clocks show one date and one hour at both, of an hour that comes twice the same one."""
    locals = [_utc(moment).astimezone(moment.zone) for moment in (one, other)]
    return len({(local.date(), local.hour, local.utcoffset()) for local in locals}) == 1


def dates_of(moment: Moment, span: Span) -> Iterator[Mapping[str, str]]:
    """Yield the values of all placeholders, one table for each date that is meant, the earliest first."""
    for offset in range(span.first, span.last + 1):
        yield _values(_shifted(moment, offset, span.unit))


def _shifted(moment: Moment, offset: int, unit: str) -> datetime:
    """Give what the zone's clocks show, so many units away."""
    utc = _utc(moment)
    if unit == "h":
        utc += timedelta(hours=offset)
    local = utc.astimezone(moment.zone).replace(tzinfo=None)
    if unit == "d":
        return local + timedelta(days=offset)
    if unit == "m":
        year, month = divmod(local.year * 12 + local.month - 1 + offset, 12)
        # The month before 31 March is February, whatever its length.
        return local.replace(year=year, month=month + 1, day=min(local.day, calendar.monthrange(year, month + 1)[1]))
    return local


def _utc(moment: Moment) -> datetime:
    return datetime.fromtimestamp(min(max(moment.at, 0.0), _AT_MAX), UTC)


def _values(local: datetime) -> Mapping[str, str]:
    week = local.isocalendar()
    year = f"{local.year:04d}"
    return {
        "date": f"{year}{local.month:02d}{local.day:02d}",
        "year": year,
        "year.short": year[-2:],
        "month": f"{local.month:02d}",
        "month.plain": str(local.month),
        "month.name": _MONTHS[local.month - 1],
        "day": f"{local.day:02d}",
        "day.plain": str(local.day),
        "day.of.year": f"{local.timetuple().tm_yday:03d}",
        "hour": f"{local.hour:02d}",
        "week": f"{week.week:02d}",
        "week.year": f"{week.year:04d}",
        "weekday": str(week.weekday),
    }


DATE_PLACEHOLDERS = frozenset(_values(datetime(2024, 1, 1)))
"""What may stand for a part of a date."""
