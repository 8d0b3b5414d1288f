"""The periods of the late-file alarm."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from mft.model.transfer_parts import ExpectSpec
from mft.model.windows import parse_days
from mft.transfers.expectation import is_short, period

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")


def _at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_a_day_is_as_long_as_the_time_zone_has_it() -> None:
    """Goal: from midnight to midnight, also where the clock is set. Method: an ordinary day and both others."""
    spec = ExpectSpec(time_zone="Europe/Berlin")
    for day, next_day, hours in (
        ("2026-06-01", "2026-06-02", 24),
        ("2026-03-29", "2026-03-30", 23),
        ("2026-10-25", "2026-10-26", 25),
    ):
        found = period(spec, _at(f"{day}T12:00"))
        assert found == (_at(f"{day}T00:00"), _at(f"{next_day}T00:00"))
        assert found.end - found.begin == hours * 3600


def test_weeks_begin_on_monday() -> None:
    """Goal: seven days are a week. Method: a Sunday and the Monday after it."""
    spec = ExpectSpec(time_zone="Europe/Berlin", within_s=7 * 86400)
    week = period(spec, _at("2026-11-22T23:59"))
    assert week == (_at("2026-11-16T00:00"), _at("2026-11-23T00:00"))
    assert period(spec, week.end).begin == week.end


@given(st.floats(0, 4e9), st.one_of(st.floats(60, 86400), st.floats(86401, 40 * 86400)), st.sampled_from(ZONES))
def test_periods_follow_each_other_without_a_gap(now: float, within_s: float, zone: str) -> None:
    """Goal: each moment is in just one period. Method: any time, length and zone; then the end and what follows it."""
    spec = ExpectSpec(within_s=within_s, time_zone=zone)
    found = period(spec, now)
    assert found.begin - 1e-3 <= now < found.end + 1e-3
    after = period(spec, found.end + 1e-3)
    assert abs(after.begin - found.end) <= 2e-3


def test_by_times_of_days() -> None:
    """Goal: by eight on workdays, and what comes on a week-end counts for Monday. Method: a Friday to a Tuesday."""
    spec = ExpectSpec(by=("0 8 * * mon-fri",), time_zone="Europe/Berlin")
    friday, monday, tuesday = _at("2026-11-20T08:00"), _at("2026-11-23T08:00"), _at("2026-11-24T08:00")
    assert period(spec, friday - 1).end == friday
    for now in (friday, friday + 3600, monday - 1):
        assert period(spec, now) == (friday, monday)
    assert period(spec, monday) == (monday, tuesday)
    holidays = parse_days(["11-23"])
    assert period(spec, monday, holidays) == (friday, tuesday)


def test_by_rare_and_by_frequent_times() -> None:
    """Goal: any times will do. Method: each minute, the last day of a year, a date that never comes again soon."""
    now = _at("2026-11-20T12:00:30", "UTC")
    assert period(ExpectSpec(by=("* * * * *",)), now) == (now - 30, now + 30)
    yearly = period(ExpectSpec(by=("0 0 31 12 *", "0 6 1 1 *")), now)
    assert yearly == (_at("2026-01-01T06:00", "UTC"), _at("2026-12-31T00:00", "UTC"))
    leap = period(ExpectSpec(by=("0 0 29 2 *",)), now)
    assert leap.end == _at("2028-02-29T00:00", "UTC")
    every_day = parse_days([f"{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)])
    assert period(ExpectSpec(by=("0 0 1 * *",)), now, every_day).end > now + 9 * 365 * 86400


@given(
    st.floats(1.7e9, 1.9e9), st.sampled_from(["0 8 * * mon-fri", "*/7 * * * *", "30 2 * * *"]), st.sampled_from(ZONES)
)
def test_times_follow_each_other_without_a_gap(now: float, by: str, zone: str) -> None:
    """Goal: each moment is in just one period, also where the clock is changed. Method: any time and zone."""
    spec = ExpectSpec(by=(by,), time_zone=zone)
    found = period(spec, now)
    assert found.begin <= now < found.end
    after = period(spec, found.end)
    assert after.begin == found.end
    assert period(spec, after.end - 1e-3) == after


def test_too_few_are_short() -> None:
    """Goal: the least number is enough. Method: on both sides of it."""
    spec = ExpectSpec(files_min=3)
    assert is_short(spec, 2)
    assert not is_short(spec, 3)
