"""Times of five fields as cron has them, in a time zone, and right when the clock is changed.

An expression whose hour begins with `*` follows the clock through the change: an hour that is left out has no slots,
one that comes twice has them twice, so what runs every hour runs every hour. Any other names times of a day: one that
the change leaves out happens right after it, and one that comes twice happens the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice

from cronsim import CronSim, CronSimError

FIELDS = 5
_SECOND = timedelta(seconds=1)
_CHANGES_MIN = timedelta(days=1)
"""No two changes of a zone's clock are closer together."""


def cron_problem(expression: str) -> str:
    """Say what is wrong with an expression; empty if nothing is."""
    fields = len(expression.split())
    if fields != FIELDS:
        return f"expected five fields (minute, hour, day, month, weekday), got {fields}"
    try:
        next(CronSim(expression, datetime(2024, 1, 1)), None)
    except CronSimError as error:
        return f"{expression!r} is no time of cron: {error}"
    return ""


def slots(expression: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield the slots of an expression that come after `after`, in order, without end (or none at all), in UTC."""
    follows_clock = expression.split()[1].startswith("*")
    while (found := (_by_clock if follows_clock else _by_day)(expression, zone, after)) is not None:
        yield found
        after = found


def next_slot(expressions: tuple[str, ...], zone: tzinfo, after: datetime) -> datetime | None:
    """Give the first slot of any of the expressions after `after`, in UTC; None if there is none in fifty years."""
    found = [slot for expression in expressions for slot in islice(slots(expression, zone, after), 1)]
    return min(found, default=None)


def instant(local: datetime, zone: tzinfo, *, last: bool = False) -> datetime:
    """Give the moment, in UTC, at which a zone's clocks show this time: the first, or the `last`, where it comes twice.

    One that the clocks leave out is the moment of the change.
    """
    moment = local.replace(tzinfo=zone, fold=int(last)).astimezone(UTC)
    if _shown(moment, zone) == local:
        return moment
    before, behind = moment - _CHANGES_MIN, moment + _CHANGES_MIN
    return _change(zone, before, behind)


def _by_day(expression: str, zone: tzinfo, after: datetime) -> datetime | None:
    """Find the next slot of an expression that names times of a day."""
    for local in CronSim(expression, _shown(after, zone)):
        # What is left out maps to the change, and of what comes twice the first is over: both may not be after `after`.
        if (moment := instant(local, zone)) > after:
            return moment
    return None


def _by_clock(expression: str, zone: tzinfo, after: datetime) -> datetime | None:
    """Find the next moment whose time on the zone's clocks matches, one stretch of constant offset after the other."""
    start, offset, local_after = after, _offset(after, zone), _shown(after, zone)
    while True:
        local = next(CronSim(expression, local_after), None)
        if local is None:
            return None
        moment = local.replace(tzinfo=UTC) - offset
        change = _next_change(zone, start, moment)
        if change is None:
            return moment
        # The stretch's first moment may itself be a slot.
        start, offset, local_after = change, _offset(change, zone), _shown(change, zone) - _SECOND


def _next_change(zone: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """Find the first change of a zone's clocks after `start` and not after `end`."""
    offset = _offset(start, zone)
    while start < end:
        ahead = min(start + _CHANGES_MIN, end)
        if _offset(ahead, zone) != offset:
            return _change(zone, start, ahead)
        start = ahead
    return None


def _shown(moment: datetime, zone: tzinfo) -> datetime:
    """What a zone's clocks show, as a time without a zone."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _change(zone: tzinfo, before: datetime, behind: datetime) -> datetime:
    """Find the moment between the two, to the second, from which the clocks are no more as at `before`."""
    offset = _offset(before, zone)
    before = before.replace(microsecond=0)
    while behind - before > _SECOND:
        middle = before + timedelta(seconds=(behind - before) // _SECOND // 2)
        if _offset(middle, zone) == offset:
            before = middle
        else:
            behind = middle
    return behind
