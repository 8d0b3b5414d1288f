"""Windows and calendars: when something may begin."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mft.errors import Problem
from mft.model.check import judge
from mft.model.starts import CalendarSpec, StartSpec
from mft.model.timetable import Slots, timetable_of
from mft.model.windows import WEEKDAYS, Windows, next_open, parse_window, windows_of
from tests.unit.model.samples import good

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    """A moment as Berlin's clocks show it."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


def test_days_and_times() -> None:
    """Goal: a window is open on its days at its times. Method: the edges, and the night that belongs to Friday."""
    windows = windows_of(("mon-fri 08:00-18:00", "fri 22:00-06:00"), {}, BERLIN)
    for text, is_open in {
        "2026-11-20 07:59": False,  # A Friday.
        "2026-11-20 08:00": True,
        "2026-11-20 17:59": True,
        "2026-11-20 18:00": False,
        "2026-11-20 22:00": True,
        "2026-11-21 05:59": True,
        "2026-11-21 06:00": False,
        "2026-11-21 22:30": False,
    }.items():
        assert windows.is_open(at(text)) is is_open, text
    assert windows.opens(at("2026-11-20 18:00")) == at("2026-11-20 22:00")
    assert windows.closes(at("2026-11-20 23:00")) == at("2026-11-21 06:00")
    assert windows.opens(at("2026-11-21 06:00")) == at("2026-11-23 08:00")


@pytest.mark.parametrize(
    ("text", "month", "days"),
    [
        ("day 1-5", "2026-02", {1, 2, 3, 4, 5}),
        ("day 15", "2026-02", {15}),
        ("day last", "2026-02", {28}),
        ("day last", "2028-02", {29}),
        ("day last", "2026-04", {30}),
        ("day 31", "2026-04", set()),
        ("day 31,1", "2026-04", {1}),
        ("day 28-last", "2026-02", {28}),
        ("day 28-last", "2026-05", {28, 29, 30, 31}),
        ("day 29-last", "2026-02", set()),
        ("day 29-2", "2026-04", {1, 2, 29, 30}),
        ("day last-2", "2026-04", {1, 2, 30}),
        ("day 5-5,last-last", "2026-04", {5, 30}),
        ("Day 10,Last 08:00-09:00", "2026-04", {10, 30}),
        ("mon day 1-7", "2026-04", {6}),
        ("fri day 25-31 22:00-06:00", "2026-05", {29}),
        ("sat,sun day 1-10", "2026-05", {2, 3, 9, 10}),
        ("mon-fri day last", "2026-05", set()),
    ],
)
def test_days_of_the_month(text: str, month: str, days: set[int]) -> None:
    """Goal: such a window opens on its days and on no other. Method: each day of a month, also one without the 31st."""
    window = parse_window(text)
    first = date.fromisoformat(f"{month}-01")
    of_month = (first + timedelta(days=n) for n in range(31))
    assert {day.day for day in of_month if day.month == first.month and window.is_on(day)} == days


def test_the_last_day_ends_in_the_next_month() -> None:
    """Goal: the night after the last day belongs to it. Method: around the end of February, and of the year."""
    windows = windows_of(("day last 20:00-02:00", "day 1 08:00-09:00"), {}, BERLIN)
    assert windows.opens(at("2026-02-01 09:00")) == at("2026-02-28 20:00")
    assert windows.closes(at("2026-03-01 01:59")) == at("2026-03-01 02:00")
    assert windows.opens(at("2026-12-31 21:00")) == at("2027-01-01 08:00")
    # The last day of March 2024 was the day on which the clocks are changed, an hour before it is over in UTC.
    changed = windows_of(("day last 02:30-04:00",), {}, BERLIN)
    assert changed.opens(at("2024-03-01 00:00")) == at("2024-03-31 03:00")
    assert changed.closes(at("2024-03-31 03:30")) == at("2024-03-31 04:00")


@settings(max_examples=100)
@given(st.sampled_from(WEEKDAYS), st.integers(1, 31), st.integers(0, 40 * 366))
def test_any_day_that_there_is_comes_within_the_look(weekday: str, day: int, ahead: int) -> None:
    """Goal: no window is said never to open that does. Method: any weekday that is to be any day of a month."""
    windows = windows_of((f"{weekday} day {day} 08:00-09:00",), {}, BERLIN)
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=ahead)
    opens = windows.opens(now)
    assert opens is not None
    shown = opens.astimezone(BERLIN)
    assert (WEEKDAYS[shown.weekday()], shown.day, shown.hour) == (weekday, day, 8)
    assert windows.is_open(opens)


def test_a_time_that_no_window_has_is_not_looked_for_without_end() -> None:
    """Goal: the leader's loop goes on. Method: count what is looked at for times of cron that can never count."""
    start = StartSpec(cron=("0 6 * * *",), windows=("mon day 31 20:00-24:00",), time_zone="Europe/Berlin")
    looks: list[datetime] = []

    class Counted(Windows):
        def opens(self, now: datetime) -> datetime | None:
            looks.append(now)
            return super().opens(now)

    times = timetable_of(start, {})
    times = times._replace(windows=Counted(*times.windows))
    assert times.next_slot(at("2026-01-01 00:00").timestamp()) is None
    assert len(looks) < 100


def test_no_window_opens_on_a_holiday() -> None:
    """Goal: a holiday is closed, the night before it ends. Method: Christmas, with windows and without."""
    calendars = {"christmas": ("12-25", "2026-12-28")}
    nights = windows_of(("22:00-06:00",), calendars, BERLIN)
    assert nights.is_open(at("2026-12-25 05:00"))
    assert not nights.is_open(at("2026-12-25 23:00"))
    assert not nights.is_open(at("2026-12-26 01:00"))
    always = windows_of((), calendars, BERLIN)
    assert not always.is_always
    assert always.closes(at("2026-12-24 12:00")) == at("2026-12-25 00:00")
    assert next_open(always, at("2026-12-25 12:00")) == at("2026-12-26 00:00")
    assert next_open(always, at("2026-12-26 12:00")) == at("2026-12-26 12:00")
    assert windows_of((), {}, BERLIN).is_always


def test_changes_of_the_clock() -> None:
    """Goal: a window has all of an hour that comes twice, and opens right after one left out. Method: both days."""
    windows = windows_of(("02:30-04:00",), {}, BERLIN)
    assert windows.opens(at("2026-03-28 12:00")) == at("2026-03-29 03:00")
    opens = windows.opens(at("2026-10-24 12:00"))
    assert opens is not None
    closes = windows.closes(opens)
    assert closes is not None
    assert closes - opens == timedelta(hours=2.5)


@settings(max_examples=50)
@given(st.integers(0, 1439), st.integers(1, 1440), st.integers(0, 3 * 366 * 24 * 60))
def test_openings_agree_with_what_is_open(begin: int, end: int, minutes: int) -> None:
    """Goal: what opens and closes does so when it says. Method: just before and at each, for any window and time."""
    if begin == end:
        return
    text = f"mon-thu {begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}"
    windows = windows_of((text,), {}, BERLIN)
    now = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    opens, closes = windows.opens(now), windows.closes(now)
    assert opens is not None
    assert windows.is_open(opens)
    assert windows.is_open(now) is (closes is not None)
    if closes is not None:
        assert windows.is_open(closes - timedelta(seconds=1))


def test_slots_count_only_in_windows() -> None:
    """Goal: cron and windows together are what both allow. Method: every hour on workdays, over a weekend."""
    start = StartSpec(
        cron=("0 * * * *",), windows=("mon-fri 08:00-10:00",), time_zone="Europe/Berlin", calendars=("c",)
    )
    times = timetable_of(start, {"c": CalendarSpec(days=("2026-11-23",))})
    friday, tuesday = at("2026-11-20 08:30").timestamp(), at("2026-11-24 08:00").timestamp()
    assert times.next_slot(friday) == at("2026-11-20 09:00").timestamp()
    assert times.next_slot(at("2026-11-20 09:00").timestamp()) == tuesday
    assert times.due(friday, tuesday + 60) == Slots(at("2026-11-20 09:00").timestamp(), tuesday, 2)
    assert times.due(friday, friday + 60) is None
    assert not times.polls


@pytest.mark.parametrize(
    ("start", "path", "words"),
    [
        ({"cron": ["61 * * * *"]}, "cron[0]", "no time of cron"),
        ({"time_zone": "Europe/Berlln"}, "time_zone", "no time zone"),
        ({"windows": ["mo-fr 08:00-18:00"]}, "windows[0]", "expected days"),
        ({"windows": ["mon 8-18"]}, "windows[0]", "expected days"),
        ({"windows": ["day 0-5"]}, "windows[0]", "no day '0' of a month: 1 to 31, or `last`"),
        ({"windows": ["day 32 08:00-18:00"]}, "windows[0]", "no day '32'"),
        ({"windows": ["day 1,,2"]}, "windows[0]", "no day ''"),
        ({"windows": ["day 1-mon"]}, "windows[0]", "no day 'mon'"),
        ({"windows": ["day 08:00-18:00"]}, "windows[0]", "after `day`"),
        ({"windows": ["1-5 08:00-18:00"]}, "windows[0]", "written `day 1-5`"),
        ({"windows": ["day 1-5 mon"]}, "windows[0]", "expected days and times"),
        ({"windows": ["day 1 - 5"]}, "windows[0]", "expected days and times"),
        ({"windows": ["08:00-08:00"]}, "windows[0]", "is empty"),
        ({"windows": ["08:00-24:30"]}, "windows[0]", "no time of a day"),
        ({"calendars": ["bank"]}, "calendars[0]", "no calendar"),
        ({"after": ["nobody"]}, "after[0]", "no transfer"),
        ({"after": ["out"]}, "after", "cannot come after itself"),
        ({"poll": False, "notify": True}, "poll", "never enough"),
        ({"poll": False, "notify": True, "after": ["other"]}, "poll", "never enough"),
    ],
    ids=[
        "cron",
        "zone",
        "days",
        "times",
        "zero",
        "32",
        "comma",
        "mixed",
        "none",
        "bare",
        "order",
        "spaces",
        "empty",
        "late",
        "calendar",
        "after",
        "circle",
        "notify",
        "notify-after",
    ],
)
def test_mistakes_are_told_with_their_place(start: dict[str, Any], path: str, words: str) -> None:
    """Goal: what cannot be meant is refused at apply. Method: one mistake at a time."""
    document = good()
    document["transfers"]["other"] = {**document["transfers"]["out"], "leader_group": "g"}
    document["transfers"]["out"] |= {"source_location": "local", "leader_group": "g", "start": start}
    problems = judge(document)[1].problems
    assert [problem.path for problem in problems] == [f"transfers.out.start.{path}"], problems
    assert words in problems[0].message


@pytest.mark.parametrize(
    ("start", "polls", "is_by_request"),
    [
        ({}, True, False),
        ({"poll": False}, False, True),
        ({"poll": False, "windows": ["mon"]}, False, True),
        ({"poll": False, "after": ["other"]}, False, False),
        ({"after": ["other"]}, False, False),
        ({"notify": True}, True, False),
        ({"notify": True, "after": ["other"]}, True, False),
        ({"notify": True, "cron": ["0 * * * *"]}, False, False),
        ({"notify": True, "cron": ["0 * * * *"], "poll": False}, False, False),
    ],
)
def test_what_starts_a_transfer(start: dict[str, Any], polls: bool, is_by_request: bool) -> None:
    """Goal: a notification is never the only way, a request may be. Method: tables that all are right."""
    document = good()
    document["transfers"]["other"] = {**document["transfers"]["out"], "leader_group": "g"}
    document["transfers"]["out"] |= {"source_location": "local", "leader_group": "g", "start": start}
    config, (problems, _) = judge(document)
    assert not problems
    times = timetable_of(config.transfers["out"].start, {})
    assert (times.polls, times.is_by_request) == (polls, is_by_request)


def test_the_order_of_transfers_has_no_circle() -> None:
    """Goal: three that follow each other in a circle, and another group, are refused; a row is not. Method: both."""
    document = good()
    transfers = document["transfers"]
    transfers["out"]["leader_group"] = "g"
    for id, after in {"a": ["out"], "b": ["a", "out"], "c": ["b"]}.items():
        transfers[id] = {**transfers["out"], "start": {"after": after}}
    assert not judge(document)[1].problems
    transfers["a"]["start"] = {"after": ["c"]}
    assert [problem.message for problem in judge(document)[1].problems] == [
        "a transfer cannot come after itself: a after c after b after a"
    ]
    transfers["a"] = {**transfers["out"], "leader_group": "other", "start": {"after": ["out"]}}
    problems = judge(document)[1].problems
    assert all("leader group" in problem.message for problem in problems)
    assert {problem.path for problem in problems} == {"transfers.a.start.after[0]", "transfers.b.start.after[0]"}


def test_a_day_that_is_none() -> None:
    """Goal: a calendar has days. Method: the 30th of February, and no date."""
    document = good()
    document["calendars"] = {"bank": {"days": ["02-30", "christmas", "2026-12-25", "02-29"]}}
    problems = judge(document)[1].problems
    assert (
        problems[:2]
        == problems
        == (
            Problem("calendars.bank.days[0]", "there is no day '02-30'"),
            Problem(
                "calendars.bank.days[1]",
                "expected a date such as `2026-12-25`, or `12-25` for every year, got 'christmas'",
            ),
        )
    )
