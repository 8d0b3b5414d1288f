"""The periods of the late-file alarm."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from mft.model.transfer_parts import ExpectSpec
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


def test_too_few_are_short() -> None:
    """Goal: the least number is enough. Method: on both sides of it."""
    spec = ExpectSpec(files_min=3)
    assert is_short(spec, 2)
    assert not is_short(spec, 3)
