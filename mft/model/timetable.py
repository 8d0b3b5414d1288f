"""When a transfer may and should start, as its `start` table says. Pure; times are seconds since 1970."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from mft.errors import Invalid
from mft.model.cron import cron_problem, next_slot
from mft.model.starts import CalendarSpec, StartSpec
from mft.model.windows import Windows, next_open, windows_of

SLOTS_COUNTED_MAX = 1000
"""Slots of one outage that are counted. Of more, which takes an outage of weeks or a slot each minute, the newest ones
are passed over without being counted: nobody waits while they are."""
_LOOK_S_MAX = 30 * 366 * 86400.0
"""How far a time of `cron` inside a window is looked for. There may be none: that must not take long to find out."""


class Slots(NamedTuple):
    """Slots that are due."""

    first: float
    last: float
    total: int


class Timetable(NamedTuple):
    """The `start` table of one transfer, read."""

    cron: tuple[str, ...]
    zone: ZoneInfo
    windows: Windows
    polls: bool
    after: tuple[str, ...]
    """Transfers that start it when they have delivered something."""
    is_notified: bool
    """Whether files that come into its folder start it."""
    mark: str
    """Differs where times of `cron` do: what was missed under others was not missed under these. Empty without."""

    @property
    def is_by_request(self) -> bool:
        """Whether it starts by request only."""
        return not (self.polls or self.cron or self.after or self.is_notified)

    def is_open(self, now: float) -> bool:
        """Say whether something may begin."""
        return self.windows.is_always or self.windows.is_open(_moment(now))

    def opens(self, now: float) -> float | None:
        """Say from when on something may begin; None: never."""
        return _seconds(next_open(self.windows, _moment(now)))

    def closes(self, now: float) -> float | None:
        """Say until when something may begin; None: without end, or nothing may now."""
        return None if self.windows.is_always else _seconds(self.windows.closes(_moment(now)))

    def next_slot(self, after: float) -> float | None:
        """Say when `cron` starts next after `after`, on a day and at a time at which it may."""
        moment = _moment(after)
        for _ in range(SLOTS_COUNTED_MAX):
            slot = next_slot(self.cron, self.zone, moment)
            if slot is None or self.windows.is_always or self.windows.is_open(slot):
                return _seconds(slot)
            # Between two openings there is nothing to look at.
            opens = self.windows.opens(slot)
            if opens is None or opens.timestamp() - after > _LOOK_S_MAX:
                return None
            moment = max(slot, datetime.fromtimestamp(opens.timestamp() - 1, UTC))
        return None

    def due(self, after: float, now: float, most: int = SLOTS_COUNTED_MAX) -> Slots | None:
        """Give the slots after `after` that have come by `now`, or the `most` first of them."""
        total, first, last = 0, 0.0, after
        while total < most:
            slot = self.next_slot(last)
            if slot is None or slot > now:
                break
            first, last, total = first or slot, slot, total + 1
        if total == SLOTS_COUNTED_MAX:
            last = now
        return Slots(first, last, total) if total else None


def timetable_of(start: StartSpec, calendars: Mapping[str, CalendarSpec]) -> Timetable:
    """Read a `start` table.

    Raises:
        Invalid: it cannot be read. It was checked when it was applied, but one instance's own values were not.
    """
    # Of files that other machines write to shared storage no notification comes: without times that is never enough.
    polls = not start.cron and (start.notify or not start.after) if start.poll is None else start.poll
    try:
        zone = ZoneInfo(start.time_zone)
        days = {id: calendars[id].days for id in start.calendars}
        windows = windows_of(start.windows, days, zone)
    except (KeyError, ValueError, OSError) as error:
        raise Invalid(f"its `start` cannot be read: {error}") from error
    for expression in start.cron:
        if problem := cron_problem(expression):
            raise Invalid(f"its `start` cannot be read: {problem}")
    mark = ""
    if start.cron:
        told = msgspec.json.encode([start.cron, start.windows, start.time_zone, days])
        mark = hashlib.sha256(told).hexdigest()[:12]
    return Timetable(start.cron, zone, windows, polls, start.after, start.notify, mark)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
