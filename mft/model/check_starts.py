"""What must hold of `[transfers.ID.start]`, `[transfers.ID.expect]` and `[calendars.ID]` beyond their types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from zoneinfo import ZoneInfo

from mft.errors import Problem
from mft.model.config import Config
from mft.model.cron import cron_problem
from mft.model.decode import did_you_mean
from mft.model.document import path_of
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import ExpectSpec
from mft.model.transfers import TransferSpec, leader_group_of
from mft.model.windows import parse_days, parse_window


def check_starts(config: Config) -> Iterator[Problem]:
    """Say what is wrong with the times at which transfers start."""
    for id, calendar in config.calendars.items():
        for n, day in enumerate(calendar.days):
            if problem := _day_problem(day):
                yield _at(problem, "calendars", id, "days", n)
    for id, transfer in config.transfers.items():
        yield from _times(config, id, transfer)
        yield from _after(config, id, transfer)
        if transfer.expect is not None:
            yield from _expected(config, transfer.expect, ("transfers", id, "expect"))
    yield from _circles(config.transfers)


def zone_problem(name: str) -> str:
    """Judge the name of a time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # Of the library: unknown, no name of a zone, a folder of zones.
        return f"there is no time zone {name!r}; expected an IANA name such as `Europe/Berlin`"
    return ""


def _expected(config: Config, expect: ExpectSpec, place: tuple[str, ...]) -> Iterator[Problem]:
    if problem := zone_problem(expect.time_zone):
        yield _at(problem, *place, "time_zone")
    for n, expression in enumerate(expect.by):
        if problem := cron_problem(expression):
            yield _at(problem, *place, "by", n)
    yield from _calendars(config, expect.calendars, place)
    if expect.calendars and not expect.by:
        yield _at("calendars count for times of `by` only: give some, for example `0 8 * * *`", *place, "calendars")


def _calendars(config: Config, names: Iterable[str], place: tuple[str, ...]) -> Iterator[Problem]:
    for n, name in enumerate(names):
        if name not in config.calendars:
            yield _at(f"there is no calendar {name!r}{did_you_mean(name, config.calendars)}", *place, "calendars", n)


def _times(config: Config, id: str, transfer: TransferSpec) -> Iterator[Problem]:
    start = transfer.start
    place = ("transfers", id, "start")
    if problem := zone_problem(start.time_zone):
        yield _at(problem, *place, "time_zone")
    for n, expression in enumerate(start.cron):
        if problem := cron_problem(expression):
            yield _at(problem, *place, "cron", n)
    for n, window in enumerate(start.windows):
        if problem := _window_problem(window):
            yield _at(problem, *place, "windows", n)
    yield from _calendars(config, start.calendars, place)
    if start.notify and start.poll is False and not start.cron:
        # Neither is `after` enough: it says when the other one has delivered, not when a file has come here.
        yield _at(
            "`notify` is never enough: of files that other machines write to shared storage it tells nothing, and they "
            "would lie there; let it poll (leave `poll` out), or give times to look at (`cron`)",
            *place,
            "poll",
        )
    location = config.locations.get(transfer.source_location)
    if start.notify and location is not None and not isinstance(location, LocalLocationSpec):
        yield _at(
            f"only a local folder tells when a file comes, and {transfer.source_location!r} is none; leave it out",
            *place,
            "notify",
        )


def _after(config: Config, id: str, transfer: TransferSpec) -> Iterator[Problem]:
    place = ("transfers", id, "start", "after")
    for n, name in enumerate(transfer.start.after):
        other = config.transfers.get(name)
        if other is None:
            yield _at(f"there is no transfer {name!r}{did_you_mean(name, config.transfers)}", *place, n)
        elif leader_group_of(name, other) != leader_group_of(id, transfer):
            yield _at(
                f"transfers.{name} is of leader group {leader_group_of(name, other)!r}, this one of "
                f"{leader_group_of(id, transfer)!r}; put both into one",
                *place,
                n,
            )


def _circles(transfers: Mapping[str, TransferSpec]) -> Iterator[Problem]:
    """Find transfers that come after themselves: each delivery would start them again, for ever."""
    finished: set[str] = set()
    for id in transfers:
        path: list[str] = []
        yield from _walk(transfers, id, path, finished)


def _walk(transfers: Mapping[str, TransferSpec], id: str, path: list[str], finished: set[str]) -> Iterator[Problem]:
    stack: list[tuple[str, Iterator[str]]] = [(id, iter(transfers[id].start.after))]
    if id in finished:
        return
    path.append(id)
    while stack:
        here, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
            finished.add(path.pop())
        elif name in path:
            circle = " after ".join([*path[path.index(name) :], name])
            yield _at(f"a transfer cannot come after itself: {circle}", "transfers", here, "start", "after")
        elif name in transfers and name not in finished:
            path.append(name)
            stack.append((name, iter(transfers[name].start.after)))


def _day_problem(day: str) -> str:
    try:
        parse_days([day])
    except ValueError as error:
        return str(error)
    return ""


def _window_problem(window: str) -> str:
    try:
        parse_window(window)
    except ValueError as error:
        return str(error)
    return ""


def _at(message: str, *path: str | int) -> Problem:
    return Problem(path_of(*path), message)
