"""Which periods are judged, and by which files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from mft.model.transfer_parts import ExpectSpec
from mft.model.windows import parse_days
from mft.transfers.counting import Short, judged
from mft.transfers.expectation import period
from mft.transfers.starting import SlotState

DAY_S, HOUR_S = 86400.0, 3600.0
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
MIDNIGHT = NOON + 12 * HOUR_S
DAILY = ExpectSpec(files_min=3)
HOURLY = replace(DAILY, within_s=HOUR_S)


def began(spec: ExpectSpec, arrived: int, now: float) -> SlotState:
    """Expect files from now on."""
    state, short = judged(SlotState(), spec, arrived, now)
    assert short is None
    return state


def test_each_period_is_judged_once() -> None:
    """Goal: a whole period that ends short is told once, however late. Method: a first one, short ones, an outage."""
    state, short = judged(began(DAILY, 7, NOON), DAILY, 7, MIDNIGHT)
    assert short is None  # For half a day nobody had counted.
    state, short = judged(state, DAILY, 10, MIDNIGHT + DAY_S)
    assert short is None
    assert judged(state, DAILY, 12, MIDNIGHT + 2 * DAY_S - 1) == (state, None)
    assert judged(state, DAILY, 12, MIDNIGHT + DAY_S - 1) == (state, None)  # The clock was set back.
    state, short = judged(state, DAILY, 12, MIDNIGHT + 2 * DAY_S)
    assert short == Short(MIDNIGHT + DAY_S, MIDNIGHT + 2 * DAY_S, 2)
    assert judged(state, DAILY, 12, MIDNIGHT + 2 * DAY_S) == (state, None)
    state, short = judged(state, DAILY, 13, MIDNIGHT + 5 * DAY_S + 1)
    assert short == Short(MIDNIGHT + 2 * DAY_S, MIDNIGHT + 5 * DAY_S, 1)
    state, short = judged(state, DAILY, 16, MIDNIGHT + 7 * DAY_S)
    assert short == Short(MIDNIGHT + 6 * DAY_S, MIDNIGHT + 7 * DAY_S, 0)  # Enough came, and then nobody led for a day.


def test_other_periods_begin_anew() -> None:
    """Goal: who changes what is expected gets no alarm of a time in which something else was.

    Method: to shorter periods and to longer ones, in the middle and in the last hour; another least number; none.
    """
    daily = judged(began(DAILY, 0, NOON - DAY_S), DAILY, 0, NOON)[0]
    for now in (NOON + 60, MIDNIGHT - 60):
        state, short = judged(daily, HOURLY, 1, now)
        assert (state.period, state.period_end, state.before, short) == (now, period(HOURLY, now).end, 1, None)
        state, short = judged(state, HOURLY, 1, period(HOURLY, now).end)
        assert short is None
        assert judged(state, HOURLY, 1, state.period_end)[1] == Short(state.period, state.period_end, 0)
    for now in (NOON, MIDNIGHT - HOUR_S):
        hourly = judged(began(HOURLY, 0, now - HOUR_S), HOURLY, 0, now)[0]
        state, short = judged(hourly, DAILY, 1, now + 60)
        assert short is None
        state, short = judged(state, DAILY, 1, MIDNIGHT)
        assert short is None
        assert judged(state, DAILY, 1, MIDNIGHT + DAY_S)[1] == Short(MIDNIGHT, MIDNIGHT + DAY_S, 0)
    assert judged(daily, replace(DAILY, files_min=2), 2, MIDNIGHT)[1] is None
    assert judged(daily, None, 2, NOON) == (SlotState(), None)


def test_a_period_of_a_wrong_clock_is_given_up() -> None:
    """Goal: a clock that was ahead for a moment silences no alarm. Method: a week ahead, then right again."""
    ahead = judged(began(DAILY, 0, NOON), DAILY, 0, NOON + 7 * DAY_S)[0]
    state, short = judged(ahead, DAILY, 1, NOON + HOUR_S)
    assert short is None
    state, short = judged(state, DAILY, 1, MIDNIGHT)
    assert short is None  # Only a part of it was counted.
    assert judged(state, DAILY, 2, MIDNIGHT + DAY_S)[1] == Short(MIDNIGHT, MIDNIGHT + DAY_S, 1)


def test_what_comes_on_a_holiday_counts_for_the_next_time() -> None:
    """Goal: no alarm on a holiday, and one at the next time if too few came. Method: a Friday that is one."""
    spec, holidays = replace(DAILY, by=("0 8 * * mon-fri",)), parse_days(["2026-11-20"])
    thursday, friday, monday = (NOON + days * DAY_S - 4 * HOUR_S for days in (-1, 0, 3))
    state, short = judged(SlotState(), spec, 0, thursday - HOUR_S, holidays)
    state, short = judged(state, spec, 0, thursday, holidays)
    assert short is None
    assert judged(state, spec, 2, friday, holidays) == (state, None)
    assert judged(state, spec, 2, monday, holidays)[1] == Short(thursday, monday, 2)
    assert judged(state, spec, 3, monday, holidays)[1] is None
    assert judged(state, spec, 2, friday)[1] is None  # Without the holiday the period is another: begun anew.


@example(125.0, "UTC", [0, 0], 1.7e9)
@given(
    st.one_of(st.sampled_from([DAY_S, HOUR_S, 7 * DAY_S]), st.floats(60, 86400)),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    st.lists(st.integers(0, 5), min_size=2, max_size=60),
    st.floats(1.7e9, 1.9e9),
)
def test_what_came_is_what_is_judged(within_s: float, zone: str, came: Sequence[int], begin: float) -> None:
    """Goal: all periods after the first, and no others, are judged by their files. Method: any lengths and numbers."""
    spec = ExpectSpec(files_min=3, within_s=within_s, time_zone=zone)
    state, arrived, told = began(spec, 5, begin), 5, []
    wanted = [0] if period(spec, begin).begin == begin else []  # Then the first one is whole as well.
    now = period(spec, begin).end + 0.01
    for index, files in enumerate(came):
        current = period(spec, now)
        state, short = judged(state, spec, arrived, now)
        told += [short.files] if short else []
        arrived += files
        state, short = judged(state, spec, arrived, (now + current.end) / 2)
        assert short is None
        if files < 3 and index < len(came) - 1:
            wanted.append(files)
        now = current.end + 0.01
    assert told == wanted
