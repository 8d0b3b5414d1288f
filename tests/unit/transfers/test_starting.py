"""Whether a transfer makes a pass now, what becomes of missed slots, and how a broken location is tried."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mft.model.config import Config
from mft.model.locations import LocalLocationSpec, SftpLocationSpec
from mft.model.starts import StartSpec
from mft.model.timetable import Slots, Timetable, timetable_of
from mft.model.transfer_parts import ArchiveSpec
from mft.model.transfers import TransferSpec
from mft.transfers.affinity import affinities
from mft.transfers.breaker import FAILURES_MAX, PROBE_S_MAX, REMIND_S, WAITS_S, Breaker, wait_s
from mft.transfers.partners import Partners
from mft.transfers.starting import (
    LATE_S,
    LOOKS_MAX,
    NEVER,
    Clock,
    Paces,
    SlotState,
    Wishes,
    after_failure,
    after_pass,
    begin,
    begun,
    decide,
    is_finished,
    look_soon,
    next_pass_at,
    scheduled,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()  # A Friday.
ALWAYS = timetable_of(StartSpec(), {})
OFFICE = timetable_of(StartSpec(windows=("mon-fri 08:00-18:00",)), {})
HOURLY = timetable_of(StartSpec(cron=("0 * * * *",)), {})
EVENING = NOON + 8 * 3600


def what(times: Timetable, wishes: Wishes, wall: float = NOON, **slot: Any) -> tuple[str, str, float]:
    """Decide at this time, at 100 s on the other clock."""
    state = SlotState(**slot)
    next_slot = times.next_slot(state.slot) if state.mark else None
    decision = decide(times, state, next_slot, wishes, Clock(wall, 100.0))
    return decision.make, decision.state, decision.wait_s


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(poll_at=110), ("nothing", "idle", 10)),
        (Wishes(poll_at=100), ("pass", "running", 0)),
        (Wishes(poll_at=110, look_at=99), ("pass", "running", 0)),
        (Wishes(), ("nothing", "idle", NEVER)),
        (Wishes(poll_at=90, failures=1, retry_at=130), ("nothing", "waiting", 30)),
        (Wishes(poll_at=190, failures=1, retry_at=100), ("pass", "running", 0)),
        (Wishes(poll_at=90, broken=True, retry_at=130), ("nothing", "broken", 30)),
        (Wishes(poll_at=190, broken=True, retry_at=90), ("pass", "running", 0)),
        (Wishes(poll_at=110, files_failed=1), ("nothing", "waiting", 10)),
        (Wishes(poll_at=90, paused=True), ("nothing", "paused", NEVER)),
        (Wishes(poll_at=190, failures=1, retry_at=130, asked=True), ("pass", "running", 0)),
    ],
    ids=[
        "not-yet", "due", "look", "never", "failed", "retry", "broken", "try", "files", "paused", "asked",
    ],
)  # fmt: skip
def test_what_is_done(wishes: Wishes, expected: tuple[str, str, float]) -> None:
    """Goal: pauses win over requests, those over waits, and those over what is due. Method: one of each."""
    assert what(ALWAYS, wishes) == expected


def test_outside_a_window_what_was_begun_is_finished() -> None:
    """Goal: nothing is begun outside a window. Method: on a Friday's evening, with and without open deliveries."""
    due = Wishes(poll_at=0)
    assert what(OFFICE, due)[0] == "pass"
    assert what(OFFICE, due, EVENING) == ("nothing", "outside-window", 60)
    assert what(OFFICE, replace(due, has_open=True), EVENING)[0] == "finish"
    assert what(OFFICE, replace(due, has_open=True, poll_at=130), EVENING) == ("nothing", "outside-window", 30)
    assert what(OFFICE, replace(due, asked=True), EVENING)[0] == "pass"
    monday = datetime(2026, 11, 23, 8, tzinfo=UTC).timestamp()
    assert next_pass_at(None, OFFICE, due, Clock(EVENING, 100.0)) == monday
    assert what(OFFICE, due, monday - 5) == ("nothing", "outside-window", 5)


def test_slots() -> None:
    """Goal: a slot is begun at its time, one that is open is not begun again. Method: before, at and after it."""
    mark = HOURLY.mark
    assert what(HOURLY, Wishes(), NOON - 30, slot=NOON - 3600, mark=mark) == ("nothing", "idle", 30)
    assert what(HOURLY, Wishes(), NOON, slot=NOON - 3600, mark=mark)[0] == "pass"
    assert what(HOURLY, Wishes(), NOON, slot=NOON, mark=mark)[0] == "nothing"
    assert what(HOURLY, Wishes(), NOON, slot=NOON - 3600, mark=mark, open=True)[0] == "nothing"
    assert what(HOURLY, Wishes(look_at=100), NOON, slot=NOON - 3600, mark=mark, open=True)[0] == "pass"
    assert not HOURLY.polls


def test_a_schedule_that_is_set_has_missed_nothing() -> None:
    """Goal: times under another schedule are not missed under this one. Method: set, keep, change and drop one."""
    fresh = scheduled(SlotState(), HOURLY, NOON)
    assert fresh == SlotState(slot=NOON, mark=HOURLY.mark)
    assert scheduled(fresh, HOURLY, NOON + 9999) is fresh
    other = timetable_of(StartSpec(cron=("0 * * * *",), time_zone="Asia/Kathmandu"), {})
    assert scheduled(replace(fresh, missed=7, open=True), other, NOON + 9999).slot == NOON + 9999
    assert scheduled(fresh, ALWAYS, NOON).slot == 0


@given(st.sampled_from(["run-once", "skip", "catch-up"]), st.integers(0, 40), st.floats(0, 3599))
def test_each_slot_is_run_or_passed_over_once(missed: Any, slots: int, more_s: float) -> None:
    """Goal: no slot is lost from the count or has two runs. Method: outages of any length under each policy."""
    now = NOON + slots * 3600 + more_s
    state, runs, passed_over = SlotState(slot=NOON, mark=HOURLY.mark), 0, 0
    while (due := HOURLY.due(state.slot, now)) is not None:
        came = begin(state, due, missed, now)
        assert came.state.slot > state.slot
        assert came.state.open is came.runs
        runs, passed_over = runs + came.runs, passed_over + came.passed_over
        state = replace(came.state, open=False)
    assert runs + passed_over == slots
    assert state.missed == passed_over
    on_time = more_s <= LATE_S and slots > 0
    assert runs == {"run-once": min(slots, 1), "skip": int(on_time), "catch-up": slots}[missed]


def test_an_outage_of_weeks_is_not_counted_to_its_end() -> None:
    """Goal: nobody waits while slots are counted. Method: one each minute, for a month."""
    minutely = timetable_of(StartSpec(cron=("* * * * *",)), {})
    due = minutely.due(NOON, NOON + 30 * 86400)
    assert due == Slots(NOON + 60, NOON + 30 * 86400, 1000)


def test_looks_after_a_pass() -> None:
    """Goal: young and failed files are looked at again, not for ever. Method: passes that leave some."""
    wishes, looks, passes = look_soon(Wishes(), 0.0), LOOKS_MAX, 0
    while wishes.look_at < NEVER:
        looks, wishes = wishes.looks, begun(wishes)
        wishes = after_pass(wishes, looks, Paces(NEVER, 10.0, has_failed=False), 0.0, 1.0, cut_short=False)
        passes += 1
    assert passes == LOOKS_MAX
    assert is_finished(wishes)
    failed = after_pass(begun(wishes), 1, Paces(NEVER, 5.0, has_failed=True), 0.0, 1.0, cut_short=False)
    assert 6 <= failed.look_at < 7
    assert not is_finished(failed)
    good = after_pass(begun(failed), failed.looks, Paces(60.0, 0.0, has_failed=False), 10.0, 11.0, cut_short=False)
    assert is_finished(good)
    assert good.poll_at == 70.0


def test_what_is_asked_for_during_a_pass_is_not_lost() -> None:
    """Goal: a request under a pass makes another one. Method: it then succeeds, or fails."""
    asked = replace(look_soon(begun(Wishes(looks=3)), 5.0), asked=True)
    after = after_pass(asked, 3, Paces(60.0, 0.0, has_failed=False), 0.0, 10.0, cut_short=False)
    assert (after.look_at, after.asked, after.looks) == (5.0, True, LOOKS_MAX)
    failed = after_failure(asked, 3, 10.0, 5.0)
    assert (failed.retry_at, failed.failures, failed.asked) == (15.0, 1, True)


@given(st.sampled_from(sorted(WAITS_S)), st.integers(1, 10_000), st.integers(0, 1000))
def test_waits_grow_to_a_bound(error_class: str, failures: int, seed: int) -> None:
    """Goal: the wait grows with the failures and has a bound; nothing stops for good. Method: any of them."""
    first, most = WAITS_S[error_class]
    waits = wait_s(error_class, failures, random.Random(seed))
    assert first / 2 <= waits <= most
    assert waits <= first * 2.0 ** min(failures - 1, 50)
    if failures > 20:
        assert waits >= most / 2


def test_a_breaker_opens_is_tried_and_closes() -> None:
    """Goal: one tries, the others wait. Method: fail, wait, try, fail, vanish."""
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        assert breaker.waits_s("t", 0.0) == 0
        breaker = breaker.failed("t", "gone", 10.0, 0.0)
    assert breaker.is_broken
    assert breaker.waits_s("t", 4.0) == 6.0
    assert breaker.waits_s("t", 10.0) == 0
    tried = breaker.probed_by("t", 10.0)
    assert tried.waits_s("t", 11.0) == 0
    assert tried.waits_s("u", 11.0) == PROBE_S_MAX - 1
    assert tried.waits_s("u", 10.0 + PROBE_S_MAX) == 0
    assert tried.failed("u", "gone", 20.0, 12.0) == tried  # It began before.
    again = tried.failed("t", "gone", 20.0, 12.0)
    assert again.waits_s("t", 12.0) == again.waits_s("u", 12.0) == 20.0
    assert tried.given_up("u", 13.0) == tried
    assert tried.given_up("t", 13.0).waits_s("u", 13.0) == 0
    assert not again.reminds(REMIND_S - 1)
    assert again.reminds(REMIND_S)
    assert not again.reminded(REMIND_S).reminds(REMIND_S + 1)


def test_many_passes_that_fail_together_are_one_outage() -> None:
    """Goal: the wait does not grow with the number of transfers. Method: a hundred that were under way."""
    partners = Partners(lambda _event, _fields: None, lambda _location: None)
    for number in range(100):
        partners.failed(f"t{number}", "b", "partner", "gone", number / 100)
    held = partners.held("t", ["b"], 1.0)
    assert held is not None
    assert 5 < held.wait_s <= 20
    partners.begun("t", ["b"], 30.0)
    partners.given_up("t", 31.0)  # It failed elsewhere.
    assert partners.held("u", ["b"], 31.0) is None


def test_a_partner_that_was_away_for_two_minutes_is_soon_found_again() -> None:
    """Goal: files flow within a minute after it is back. Method: many outages, each attempt failing at once."""
    for seed in range(100):
        rng, now, failures = random.Random(seed), 0.0, 0
        while now < 120:
            failures += 1
            now += wait_s("partner", failures, rng)
        assert now < 120 + 50


def test_transfers_that_share_limits_share_a_worker() -> None:
    """Goal: limits of a partner are kept in one process. Method: a row over two, one beside, one without."""

    def transfer(source: str, destination: str, archive: ArchiveSpec | None = None) -> TransferSpec:
        return TransferSpec(
            source_location=source,
            source_path="",
            destination_location=destination,
            destination_path="",
            archive=archive,
        )

    partner = SftpLocationSpec(address="x", username="u", host_keys=("k",))
    config = Config(
        locations={
            "disk": LocalLocationSpec(),
            "free": partner,
            "one": replace(partner, address="one", parallel_files_max=2),
            "two": replace(partner, address="two", bandwidth_bytes_s=1000),
            "three": replace(partner, address="three", parallel_files_max=1),
            "again": replace(partner, address="Three", username="other", bandwidth_bytes_s=1000),
            "unbound": replace(partner, address="three", username="third"),
        },
        transfers={
            "a": transfer("disk", "one"),
            "b": transfer("one", "two"),
            "c": transfer("two", "disk"),
            "d": transfer("disk", "three"),
            "e": transfer("disk", "free"),
            "f": transfer("free", "disk"),
            "g": transfer("disk", "free", ArchiveSpec(location="three", path="kept")),
            "h": transfer("disk", "again"),
            "i": transfer("disk", "unbound"),
        },
    )
    found = affinities(config)
    assert found["a"] == found["b"] == found["c"]
    assert found["d"] == found["g"], "what is archived there counts as well"
    assert found["d"] == found["h"], "another account of one server"
    assert len(set(found.values())) == 5
