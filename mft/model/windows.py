"""`windows` and `calendars`: from when to when something may begin, in a time zone. Pure.

A window is written `mon-fri 08:00-18:00`: days, then times; days alone are whole days, times alone are of every day.
Days are weekdays, days of the month (`day 1-5,last`), or both, and then days on which both hold: `mon day 1-7` is the
first Monday. One that ends before it begins goes on into the next day, and belongs to the day on which it opens.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from mft.model.cron import instant

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ALL_DAYS = frozenset(range(7))
_TIMES = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_DATE = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})")
_LAST = "last"
_MONTH_DAYS = 31
_DAY_MINUTES = 24 * 60
_LOOK_DAYS_MAX = 3 * 366
"""How far the next opening is looked for: a year of closed days must not look like never."""


class Window(NamedTuple):
    """One window. Times are minutes of the day; `end` may lie on the next."""

    weekdays: frozenset[int]
    """Monday is 0."""
    begin: int
    end: int
    month_days: frozenset[int] | None = None
    """1 to 31, and 0 for the last one of any month; None: all. A month that has no such day has no such window."""

    def is_on(self, day: date) -> bool:
        """Say whether it opens on this day."""
        if day.weekday() not in self.weekdays:
            return False
        if self.month_days is None or day.day in self.month_days:
            return True
        return 0 in self.month_days and day.day == calendar.monthrange(day.year, day.month)[1]


class Holidays(NamedTuple):
    """Days on which nothing is started."""

    dates: frozenset[date]
    every_year: frozenset[tuple[int, int]]
    """(month, day)."""

    def has(self, day: date) -> bool:
        """Say whether nothing is started on this day."""
        return day in self.dates or (day.month, day.day) in self.every_year


def parse_window(text: str) -> Window:
    """Read one window. Raises `ValueError`, which says what is wrong."""
    words = text.lower().split()
    times = words.pop() if words and ":" in words[-1] else "00:00-24:00"
    month_days = _month_days(words.pop()) if len(words) > 1 and words[-2] == "day" else None
    if month_days is not None:
        words.pop()
    if len(words) > 1 or not text.strip():
        raise ValueError(f"expected days and times such as `mon-fri 08:00-18:00` or `day 1-5,last`, got {text!r}")
    weekdays = frozenset(day for part in words[0].split(",") for day in _days(part)) if words else _ALL_DAYS
    found = _TIMES.fullmatch(times)
    if found is None:
        raise ValueError(f"expected times such as `08:00-18:00`, got {times!r}")
    numbers = [int(number) for number in found.groups()]
    begin, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    if numbers[1] > 59 or numbers[3] > 59 or begin >= _DAY_MINUTES or end > _DAY_MINUTES:
        raise ValueError(f"{times!r} is no time of a day: 00:00 to 24:00")
    if begin == end:
        raise ValueError(f"{times!r} is empty; a whole day is `00:00-24:00`")
    return Window(weekdays, begin, end if end > begin else end + _DAY_MINUTES, month_days)


def parse_days(texts: Iterable[str]) -> Holidays:
    """Read the days of calendars: `2026-12-25`, or `12-25` for every year. Raises `ValueError`."""
    dates: set[date] = set()
    every_year: set[tuple[int, int]] = set()
    for text in texts:
        found = _DATE.fullmatch(text)
        if found is None:
            raise ValueError(f"expected a date such as `2026-12-25`, or `12-25` for every year, got {text!r}")
        year, month, day = found.groups()
        try:
            parsed = date(int(year or 2024), int(month), int(day))  # 2024 has a 29 February.
        except ValueError as error:
            raise ValueError(f"there is no day {text!r}") from error
        if year:
            dates.add(parsed)
        else:
            every_year.add((parsed.month, parsed.day))
    return Holidays(frozenset(dates), frozenset(every_year))


class Windows(NamedTuple):
    """All windows of one transfer. Without one, all days but the holidays are open from midnight to midnight."""

    windows: tuple[Window, ...]
    holidays: Holidays
    zone: tzinfo

    @property
    def is_always(self) -> bool:
        """Whether they are open always."""
        return not self.windows and not self.holidays.dates and not self.holidays.every_year

    def is_open(self, now: datetime) -> bool:
        """Say whether one is open at this moment."""
        return self.is_always or self.closes(now) is not None

    def closes(self, now: datetime) -> datetime | None:
        """Say when the one that closes last of those open now closes, in UTC; None if none is open."""
        day = now.astimezone(self.zone).date()
        open_now = [
            end for opened in (day - timedelta(days=1), day) for begin, end in self._of(opened) if begin <= now < end
        ]
        return max(open_now, default=None)

    def opens(self, now: datetime) -> datetime | None:
        """Say when the next one opens that is not open now, in UTC; None if none does within three years."""
        day = now.astimezone(self.zone).date()
        for ahead in range(_LOOK_DAYS_MAX):
            begins = [begin for begin, _ in self._of(day + timedelta(days=ahead)) if begin > now]
            if begins:
                return min(begins)
        return None

    def _of(self, day: date) -> list[tuple[datetime, datetime]]:
        """Give begin and end of each window that opens on this day."""
        if self.holidays.has(day):
            return []
        windows = self.windows or (Window(_ALL_DAYS, 0, _DAY_MINUTES),)
        return [
            # Of a time that comes twice the window has both: it opens at the first and closes at the last.
            (self._at(day, window.begin), self._at(day, window.end, last=True))
            for window in windows
            if window.is_on(day)
        ]

    def _at(self, day: date, minutes: int, *, last: bool = False) -> datetime:
        return instant(datetime.combine(day, time()) + timedelta(minutes=minutes), self.zone, last=last)


def windows_of(texts: Iterable[str], calendars: Mapping[str, Iterable[str]], zone: tzinfo) -> Windows:
    """Read windows and calendars (id → days). Raises `ValueError`."""
    days = [day for days in calendars.values() for day in days]
    return Windows(tuple(parse_window(text) for text in texts), parse_days(days), zone)


def next_open(windows: Windows, now: datetime) -> datetime | None:
    """Say from when on one is open: `now` if one is, None if none will be."""
    return now if windows.is_open(now) else windows.opens(now.astimezone(UTC))


def _days(part: str) -> tuple[int, ...]:
    """Read weekdays: `fri`, or `fri-mon`."""
    first, dash, last = part.partition("-")
    for name in (first, last) if dash else (first,):
        if name == "day":
            raise ValueError("expected days of the month after `day`, such as `day 1-5,last`")
        if name not in WEEKDAYS:
            hint = "; days of the month are written `day 1-5`" if name.isdecimal() or name == _LAST else ""
            raise ValueError(f"expected days such as `mon-fri` or `sat,sun`, got {part!r}{hint}")
    begin = WEEKDAYS.index(first)
    length = (WEEKDAYS.index(last) - begin) % 7 if dash else 0
    return tuple((begin + ahead) % 7 for ahead in range(length + 1))


def _month_days(text: str) -> frozenset[int]:
    """Read days of the month: `1-5,15,last`. Like weekdays a range may go on over the end: `28-3`."""
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = _month_day(first), _month_day(last if dash else first)
        if not dash or begin == end:
            days.add(begin)
        elif begin == 0:
            days.update(range(end + 1))  # From the last one on into the next month.
        elif begin < end:
            days.update(range(begin, end + 1))
        else:
            days.update(range(begin, _MONTH_DAYS + 1), range(1, end + 1))
    return frozenset(days)


def _month_day(text: str) -> int:
    if text == _LAST:
        return 0
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= _MONTH_DAYS:
        raise ValueError(f"there is no day {text!r} of a month: 1 to {_MONTH_DAYS}, or `{_LAST}`")
    return int(text)
