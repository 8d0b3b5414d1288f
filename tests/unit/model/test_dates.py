"""Dates in expressions: whose date a moment has, and what an offset makes of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mft.model.dates import DATE_PLACEHOLDERS, Moment, dates_of, is_same_hour, parse_span
from mft.model.expressions import compile_expression

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from(
    [UTC, BERLIN, ZoneInfo("Africa/Cairo"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Pacific/Apia")]
)
"""Cairo's clocks change at midnight, Lord Howe's by half an hour."""
TIMES = st.integers(0, 2_500_000_000)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> Moment:
    """A moment as a zone's clocks show it."""
    return Moment(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp(), zone)


def dates(moment: Moment, offset: str = "", text: str = "date") -> list[str]:
    return [values[text] for values in dates_of(moment, parse_span(offset))]


def test_each_placeholder() -> None:
    """Goal: each says what the manual says. Method: a day in January that is of the last week of the year before."""
    [values] = dates_of(at("2027-01-03 04:05"), parse_span(""))
    assert values == {
        "date": "20270103",
        "year": "2027",
        "year.short": "27",
        "month": "01",
        "month.plain": "1",
        "month.name": "Jan",
        "day": "03",
        "day.plain": "3",
        "day.of.year": "003",
        "hour": "04",
        "week": "53",
        "week.year": "2026",
        "weekday": "7",
    }
    assert set(values) == DATE_PLACEHOLDERS


@pytest.mark.parametrize(
    ("moment", "offset", "expected"),
    [
        (at("2026-03-01 00:00"), "-1d", ["20260228"]),
        (at("2028-03-01 00:00"), "-1d", ["20280229"]),
        (at("2026-03-31 12:00"), "-1m", ["20260228"]),
        (at("2026-03-31 12:00"), "+1m", ["20260430"]),
        (at("2026-01-15 12:00"), "-1m", ["20251215"]),
        (at("2026-01-15 12:00"), "-13m..-12m", ["20241215", "20250115"]),
        (at("2026-12-31 12:00"), "0d..+1d", ["20261231", "20270101"]),
        # After the change to summer time 00:30 is less than a day behind the midnight before the last.
        (at("2026-03-30 00:30"), "-1d", ["20260329"]),
        (at("2026-10-26 00:00"), "-1d", ["20261025"]),
        (at("2026-10-25 23:59"), "-1d", ["20261024"]),
    ],
)
def test_offsets_are_those_of_the_calendar(moment: Moment, offset: str, expected: list[str]) -> None:
    """Goal: a day before is the day before. Method: ends of months and years, days of 23 and of 25 hours."""
    assert dates(moment, offset) == expected


def test_hours_are_counted_as_they_pass() -> None:
    """Goal: an hour before is so where clocks change. Method: both nights in Berlin; the hour that comes twice."""
    assert dates(at("2026-03-29 03:30"), "-1h", "hour") == ["01"]
    assert dates(at("2026-10-25 02:30"), "-1h", "hour") == ["01"]
    assert dates(at("2026-10-25 02:30", fold=1), "-1h", "hour") == ["02"]
    assert dates(at("2026-11-01 00:30"), "-1h") == ["20261031"]


def test_an_hour_that_comes_twice_is_not_taken_for_the_first() -> None:
    """Goal: what is remembered of one moment is never used for another. Method: ask at both, one after the other."""
    expression = compile_expression("t/{hour}/-1h")
    first, second = at("2026-10-25 02:30"), at("2026-10-25 02:30", fold=1)
    assert [expression.matches("01", moment) for moment in (first, second)] == [True, False]
    assert [expression.matches("02", moment) for moment in (first, second)] == [False, True]
    assert not is_same_hour(first, second)


def test_midnight_is_that_of_the_zone() -> None:
    """Goal: whose date counts. Method: around midnight in Berlin, which is 23:00 in UTC."""
    expression = compile_expression("t/*-{date}.csv/")
    before, behind = at("2026-11-28 23:59:59.999"), at("2026-11-29 00:00")
    assert [expression.matches("a-20261128.csv", moment) for moment in (before, behind)] == [True, False]
    assert [expression.matches("a-20261129.csv", moment) for moment in (before, behind)] == [False, True]
    assert expression.matches("a-20261128.csv", Moment(behind.at, UTC))


@given(TIMES, ZONES, st.integers(-400, 400))
def test_days_follow_each_other(seconds: int, zone: ZoneInfo, offset: int) -> None:
    """Goal: no day is left out or comes twice, whatever the clocks do. Method: any moment, any zone, any offset."""
    moment = Moment(float(seconds), zone)
    today = datetime.fromtimestamp(seconds, UTC).astimezone(zone).date()
    [found] = dates(moment, f"{offset:+d}d")
    assert date(int(found[:4]), int(found[4:6]), int(found[6:])) == today + timedelta(days=offset)
    assert dates(moment, f"{offset:+d}d..{offset + 1:+d}d")[0] == found


@given(TIMES, ZONES, st.integers(-400, 400))
def test_months_follow_each_other(seconds: int, zone: ZoneInfo, offset: int) -> None:
    """Goal: each offset is one month on from the one before. Method: any moment; count months since the year 0."""
    found = dates(Moment(float(seconds), zone), f"{offset:+d}m..{offset + 1:+d}m")
    first, second = (int(text[:4]) * 12 + int(text[4:6]) for text in found)
    assert second == first + 1


@given(st.floats(0, 2.0**48), ZONES, st.sampled_from(["", "-9999m", "+9999m", "+9999d", "-9999h"]))
def test_any_time_that_a_name_may_have_is_told(seconds: float, zone: ZoneInfo, offset: str) -> None:
    """Goal: a forged name breaks nothing. Method: times up to the greatest that a delivery's id can have."""
    assert dates(Moment(seconds, zone), offset)


@given(TIMES, st.integers(0, 7200), ZONES)
def test_one_hour_is_one_date(seconds: int, later: int, zone: ZoneInfo) -> None:
    """Goal: within what counts as one hour no placeholder changes. Method: any two moments up to two hours apart."""
    one, other = Moment(float(seconds), zone), Moment(float(seconds + later), zone)
    if is_same_hour(one, other):
        assert list(dates_of(one, parse_span(""))) == list(dates_of(other, parse_span("")))
    elif later < 900:
        assert (seconds + later) // 900 > seconds // 900  # Clocks change on a quarter of an hour.
