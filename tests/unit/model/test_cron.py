"""Times of cron through the changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mft.model.cron import cron_problem, instant, next_slot, slots

BERLIN, NEW_YORK, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")


def shown(expression: str, zone: ZoneInfo, after: str, most: int) -> list[str]:
    """The next slots as the zone's clocks show them."""
    found = islice(slots(expression, zone, datetime.fromisoformat(after).replace(tzinfo=UTC)), most)
    return [slot.astimezone(zone).strftime("%d. %H:%M %z") for slot in found]


@pytest.mark.parametrize(
    ("zone", "after", "expression", "expected"),
    [
        # Berlin leaves out 02:00 to 03:00 on 29 March 2026, and has it twice on 25 October.
        (BERLIN, "2026-03-28T12:00", "30 2 * * *", ["29. 03:00 +0200", "30. 02:30 +0200"]),
        (BERLIN, "2026-03-28T12:00", "0,30 2,3 * * *", ["29. 03:00 +0200", "29. 03:30 +0200", "30. 02:00 +0200"]),
        (BERLIN, "2026-03-29T00:15", "*/30 * * * *", ["29. 01:30 +0100", "29. 03:00 +0200", "29. 03:30 +0200"]),
        (BERLIN, "2026-10-24T12:00", "30 2 * * *", ["25. 02:30 +0200", "26. 02:30 +0100"]),
        (BERLIN, "2026-10-25T00:45", "30 2 * * *", ["26. 02:30 +0100"]),
        (
            BERLIN,
            "2026-10-25T00:15",
            "*/30 * * * *",
            ["25. 02:30 +0200", "25. 02:00 +0100", "25. 02:30 +0100", "25. 03:00 +0100"],
        ),
        # New York: 8 March and 1 November 2026, at 02:00.
        (NEW_YORK, "2026-03-07T20:00", "15 2 * * *", ["08. 03:00 -0400", "09. 02:15 -0400"]),
        (NEW_YORK, "2026-10-31T20:00", "15 1 * * *", ["01. 01:15 -0400", "02. 01:15 -0500"]),
        # Lord Howe moves by half an hour only: 4 October and 5 April 2026.
        (LORD_HOWE, "2026-10-03T14:00", "15 2 * * *", ["04. 02:30 +1100", "05. 02:15 +1100"]),
        (LORD_HOWE, "2026-04-04T13:00", "45 1 * * *", ["05. 01:45 +1100", "06. 01:45 +1030"]),
        (
            LORD_HOWE,
            "2026-04-04T14:40",
            "*/15 * * * *",
            ["05. 01:45 +1100", "05. 01:30 +1030", "05. 01:45 +1030", "05. 02:00 +1030"],
        ),
    ],
    ids=[
        "berlin-gap",
        "berlin-gap-many",
        "berlin-gap-clock",
        "berlin-twice",
        "berlin-between-the-two",
        "berlin-twice-clock",
        "new-york-gap",
        "new-york-twice",
        "lord-howe-gap",
        "lord-howe-twice",
        "lord-howe-twice-clock",
    ],
)
def test_changes_of_the_clock(zone: ZoneInfo, after: str, expression: str, expected: list[str]) -> None:
    """Goal: no slot is lost or doubled when the clock is changed. Method: the days on which it is."""
    assert shown(expression, zone, after, len(expected)) == expected


@settings(max_examples=60)
@given(
    st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, ZoneInfo("UTC"), ZoneInfo("Africa/Casablanca")]),
    st.integers(0, 59),
    st.integers(0, 23),
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),
)
def test_a_time_of_the_day_comes_once_each_day(zone: ZoneInfo, minute: int, hour: int, after: datetime) -> None:
    """Goal: exactly one slot a day, whatever the clock does. Method: count those of 40 days."""
    expression = f"{minute} {hour} * * *"
    found = list(islice(slots(expression, zone, after.replace(tzinfo=UTC)), 40))
    days = [slot.astimezone(zone).date() for slot in found]
    assert days == [days[0] + timedelta(days=ahead) for ahead in range(40)]
    assert found == sorted(set(found))


@settings(max_examples=60)
@given(
    st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE]),
    st.sampled_from(["*/7 * * * *", "30 */2 * * *", "0 * * * *", "15,45 */3 * * sun"]),
    st.sampled_from(["2026-03-08", "2026-03-29", "2026-10-04", "2026-10-25", "2026-11-01", "2026-04-05"]),
    st.integers(-1440, 1440),
)
def test_following_the_clock_is_asking_it_each_minute(zone: ZoneInfo, expression: str, day: str, ahead: int) -> None:
    """Goal: slots are found that are there, no others. Method: ask the clock in each minute of ten hours."""
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(minutes=ahead)
    end = begin + timedelta(hours=10)
    fields = expression.split()

    def matches(moment: datetime) -> bool:
        local = moment.astimezone(zone)
        minutes = range(0, 60, int(fields[0][2:])) if fields[0][0] == "*" else [int(n) for n in fields[0].split(",")]
        hours = range(0, 24, int(fields[1][2:] or 1))
        return local.minute in minutes and local.hour in hours and (fields[4] == "*" or local.weekday() == 6)

    minutes = (begin + timedelta(minutes=1 + ahead) for ahead in range(600))
    expected = [moment for moment in minutes if matches(moment)]
    found = []
    for slot in slots(expression, zone, begin):
        if slot > end:
            break
        found.append(slot)
    assert found == expected


def test_several_expressions_are_one_row() -> None:
    """Goal: the earliest of all is next. Method: two, and one that never comes."""
    after = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert next_slot(("0 18 * * *", "30 15 * * *"), BERLIN, after) == datetime(2026, 11, 22, 14, 30, tzinfo=UTC)
    assert next_slot((), BERLIN, after) is None


def test_a_time_that_is_left_out_is_the_change() -> None:
    """Goal: each time of a day has its moment. Method: in, at and beside the gap; both of one that comes twice."""
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)
    for minute in (0, 1, 30, 59):
        assert instant(datetime(2026, 3, 29, 2, minute), BERLIN) == change
    assert instant(datetime(2026, 3, 29, 1, 59), BERLIN) == change - timedelta(minutes=1)
    assert instant(datetime(2026, 3, 29, 3, 0), BERLIN) == change
    twice = datetime(2026, 10, 25, 2, 30)
    assert instant(twice, BERLIN, last=True) - instant(twice, BERLIN) == timedelta(hours=1)


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "* * * * * *", "60 * * * *", "* * * * mon-", "0 0 31 2 *", "0 6 * * mo"]
)
def test_what_is_no_time_is_said(expression: str) -> None:
    """Goal: a mistake is told before it is applied. Method: several."""
    assert cron_problem(expression)


@pytest.mark.parametrize(
    "expression", ["0 6 * * mon-fri", "*/5 8-17 * * *", "0 0 L * *", "0 0 * * mon#1", "0 0 29 2 *"]
)
def test_what_is_a_time_is_taken(expression: str) -> None:
    """Goal: what cron knows is known. Method: several."""
    assert not cron_problem(expression)
