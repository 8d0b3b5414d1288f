"""Transfers that start by request only: what is taken, and what people are told."""

from __future__ import annotations

from msgspec.structs import replace

from mft.model.starts import StartSpec
from mft.model.timetable import Timetable, timetable_of
from mft.transfers.starting import NEVER, Clock, Decision, SlotState, Wishes, awaits, decide, first_wishes, next_pass_at

NOW = Clock(1_795_000_000.0, 100.0)
ALWAYS = timetable_of(StartSpec(), {})
BY_REQUEST = timetable_of(StartSpec(poll=False), {})


def decided(times: Timetable, wishes: Wishes, slot: SlotState | None = None) -> Decision:
    """Decide now."""
    return decide(times, slot or SlotState(), None, wishes, NOW)


def test_new_files_are_taken_for_a_request_only() -> None:
    """Goal: new files are taken only while what was asked for is not finished. Method: each reason for a pass.

    A successor looks for what is left open, for it cannot know whether something is.
    """
    at_begin = first_wishes(BY_REQUEST, SlotState(), has_open=False, now=NOW)
    for wishes in (Wishes(look_at=100), Wishes(failures=1, retry_at=100), at_begin):
        assert decided(BY_REQUEST, wishes).make == "finish"
        assert decided(BY_REQUEST, wishes, SlotState(open=True)).make == "pass"
        assert decided(BY_REQUEST, replace(wishes, asked=True)).make == "pass"
    assert decided(BY_REQUEST, Wishes()) == ("nothing", "idle", NEVER, False)
    assert next_pass_at(None, BY_REQUEST, Wishes(), NOW) is None


def test_what_no_clock_starts_says_what_it_waits_for() -> None:
    """Goal: an empty column of times explains itself, and no other. Method: transfers of each kind, also failing."""
    after = timetable_of(StartSpec(after=("t", "u")), {})
    assert awaits(None, BY_REQUEST, Wishes()) == "waits for a request"
    assert awaits(None, after, Wishes()) == "waits for a delivery of t or u, or for a request"
    assert not awaits(None, BY_REQUEST, Wishes(failures=1))
    assert not awaits(None, ALWAYS, Wishes(poll_at=110))
    assert not awaits(NOW.wall, BY_REQUEST, Wishes())
