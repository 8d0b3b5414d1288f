"""Whether a transfer makes a pass now, and for which times of its schedule. Pure: clocks are arguments.

Two clocks: schedules are on the wall's (seconds since 1970), waits on CLOCK_BOOTTIME, which no correction moves.
"""

from __future__ import annotations

import time
from typing import Literal, NamedTuple, Self

from msgspec import Struct
from msgspec.structs import replace

from mft.aio import boottime
from mft.model.timetable import Slots, Timetable
from mft.transfers.steering import TransferState

LATE_S = 60.0
"""A slot that is started so many seconds after its time is late: that is no busy moment, but an outage."""

NEVER = float("inf")
LOOKS_MAX = 6
"""Looks that one start may take, so that files which were young at the first are seen as stable. No more, else a folder
in which files come all the time would be looked at all the time, whatever its schedule."""
AGAIN_MORE_S = 0.05
"""A look comes so much later than a file is due, so that rounding does not make it another one."""
_WALL_S_MAX = 60.0
"""Longest wait for a time on the wall's clock, which may be set in the meantime."""

Missed = Literal["run-once", "skip", "catch-up"]


class Clock(NamedTuple):
    """Now, on both clocks."""

    wall: float
    boot: float

    @classmethod
    def now(cls) -> Self:
        """Read both."""
        return cls(time.time(), boottime())


class SlotState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a schedule is: value of `schedule/<transfer>`, written before a slot is begun and after it is finished.

    So a leader that takes over knows of each slot whether it was begun and whether it was finished: none is lost and
    none is begun twice; one that was begun and not finished is gone on with.
    """

    slot: float = 0.0
    """The last slot that was begun or passed over; 0: there is no schedule."""
    open: bool = False
    """Whether it is not finished yet; or what was asked for, of a transfer that does not poll."""
    asked: bool = False
    """Whether an operator wants a pass that was not begun yet."""
    missed: int = 0
    """Slots that had no run of their own."""
    mark: str = ""
    """Of the timetable that it belongs to."""
    period: float = 0.0
    """Since when files are counted: the begin of a period, or a time in it; 0: none are expected."""
    period_end: float = 0.0
    before: int = 0
    """Files that had been delivered until then."""


class Wishes(Struct, frozen=True, kw_only=True):
    """What a transfer has before it, in the memory of its leader. Times are on CLOCK_BOOTTIME."""

    asked: bool = False
    """An operator wants a pass now, whatever the windows say."""
    poll_at: float = NEVER
    """When to look by the poll's interval; never, if the transfer does not poll."""
    look_at: float = NEVER
    """When to look for another reason."""
    looks: int = 0
    """Looks that may still be made for what started it."""
    retry_at: float = 0.0
    failures: int = 0
    """Passes in a row that failed as a whole."""
    files_failed: int = 0
    """Passes in a row in which files failed."""
    paused: bool = False
    broken: bool = False
    """Waits until `retry_at` because a location fails for all."""
    has_open: bool = False
    """Whether deliveries that were begun are not finished."""

    @property
    def waits(self) -> bool:
        """Whether a pass is due at `retry_at`, whatever else is wished for."""
        return self.failures > 0 or self.broken

    @property
    def due_at(self) -> float:
        """When it looks next, while nothing fails."""
        return min(self.look_at, self.poll_at)


class Decision(NamedTuple):
    """What to do now."""

    make: Literal["pass", "finish", "nothing"]
    """`finish`: a pass that takes nothing new."""
    state: TransferState
    wait_s: float = 0.0
    """If nothing: how long, unless something changes."""
    came: bool = False
    """Whether that is for slots that have come: `begin` says what becomes of them."""


def decide(times: Timetable, slot: SlotState, next_slot: float | None, wishes: Wishes, now: Clock) -> Decision:
    """Say what a transfer does now. `next_slot` is the timetable's first one after `slot.slot`."""
    calm: TransferState = "idle"
    if wishes.broken or wishes.failures or wishes.files_failed:
        calm = "broken" if wishes.broken else "waiting"
    if wishes.paused:
        return Decision("nothing", "paused", NEVER)
    if wishes.asked:
        return Decision("pass", "running")
    if wishes.waits and now.boot < wishes.retry_at:
        return Decision("nothing", calm, wishes.retry_at - now.boot)
    if not times.is_open(now.wall):
        return _outside(times, wishes, now)
    came = not slot.open and next_slot is not None and next_slot <= now.wall
    if came or wishes.waits or wishes.due_at <= now.boot:
        return Decision("finish" if only_finishes(times, slot) else "pass", "running", came=came)
    wall_s = NEVER if next_slot is None or slot.open else min(next_slot - now.wall, _WALL_S_MAX)
    return Decision("nothing", calm, min(wishes.due_at - now.boot, wall_s))


def only_finishes(times: Timetable, slot: SlotState) -> bool:
    """Say whether a transfer takes nothing new, whatever it looks for: it starts by request, and nobody has asked."""
    return times.is_by_request and not slot.open


def _outside(times: Timetable, wishes: Wishes, now: Clock) -> Decision:
    """While no window is open: nothing is begun, and what is begun is finished."""
    if wishes.has_open:
        due = now.boot if wishes.waits else wishes.due_at
        if due <= now.boot:
            return Decision("finish", "running")
        return Decision("nothing", "outside-window", min(due - now.boot, _WALL_S_MAX))
    opens = times.opens(now.wall)
    wait_s = _WALL_S_MAX if opens is None else min(opens - now.wall, _WALL_S_MAX)
    return Decision("nothing", "outside-window", wait_s)


def next_pass_at(next_slot: float | None, times: Timetable, wishes: Wishes, now: Clock) -> float | None:
    """Say for people when the next pass is due, on the wall's clock; None: not by itself."""
    if wishes.paused:
        return None
    due = wishes.retry_at if wishes.waits else wishes.due_at
    at = min(now.wall + max(0.0, due - now.boot), NEVER if next_slot is None else next_slot)
    if not times.is_open(now.wall) and not wishes.has_open:
        at = max(at, times.opens(now.wall) or NEVER)
    return at if at < NEVER else None


def awaits(next_slot: float | None, times: Timetable, wishes: Wishes) -> str:
    """Say for people what a transfer waits for that no clock starts; empty: one will."""
    if next_slot is not None or wishes.waits or wishes.due_at < NEVER:
        return ""
    others = f"a delivery of {' or '.join(times.after)}, or for " if times.after else ""
    return f"waits for {others}a request"


class Begun(NamedTuple):
    """What becomes of slots that have come."""

    state: SlotState
    runs: bool
    """Whether a pass is made for them now."""
    at: float
    """The slot that is run, or the last one passed over."""
    late: bool
    """Whether people should know: it is run late, or slots are passed over."""
    passed_over: int
    """Slots that have no run of their own."""


def begin(state: SlotState, slots: Slots, missed: Missed, now: float) -> Begun:
    """Apply the policy to slots that have come: run one now, or none."""
    if missed == "catch-up":
        noted = replace(state, slot=slots.first, open=True)
        return Begun(noted, True, slots.first, now - slots.first > LATE_S, 0)
    late = now - slots.last > LATE_S
    runs = missed == "run-once" or not late
    passed_over = slots.total - runs
    noted = replace(state, slot=slots.last, open=runs, missed=state.missed + passed_over)
    return Begun(noted, runs, slots.last, late or passed_over > 0, passed_over)


def scheduled(state: SlotState, times: Timetable, now: float) -> SlotState:
    """Give the state under this timetable: one that has just been set begins now, with nothing missed."""
    if state.mark == times.mark:
        return state
    return replace(state, slot=now if times.mark else 0.0, open=False, missed=0, mark=times.mark)


def first_wishes(times: Timetable, slot: SlotState, *, has_open: bool, now: Clock) -> Wishes:
    """Say what a transfer has before it when a leadership, or the transfer, begins.

    What was begun is gone on with; who waits for others, or for a notification, may have missed one. One that starts by
    request looks for what was left open, of which there may be no record.
    """
    looks_now = slot.open or has_open or bool(times.after) or times.is_notified or times.is_by_request
    return Wishes(
        asked=slot.asked,
        poll_at=now.boot if times.polls else NEVER,
        look_at=now.boot if looks_now else NEVER,
        looks=LOOKS_MAX,
        has_open=has_open,
    )


def look_soon(wishes: Wishes, at: float) -> Wishes:
    """Wish to look at this time, and then at what was too young."""
    return replace(wishes, look_at=min(wishes.look_at, at), looks=LOOKS_MAX)


def begun(wishes: Wishes) -> Wishes:
    """Say what is left to wish for while a pass is under way: what is asked for from now on needs another one."""
    return replace(wishes, asked=False, look_at=NEVER, looks=0)


class Paces(NamedTuple):
    """How long to wait after a pass, in seconds."""

    poll_s: float
    """From its begin to the next one's; never, if the transfer does not poll."""
    again_s: float
    """Until a file that it has left is due: one that failed, or is too young. 0: it has left none."""
    has_failed: bool
    """Whether files failed."""


def after_pass(wishes: Wishes, looks: int, paces: Paces, began: float, ended: float, *, cut_short: bool) -> Wishes:
    """Say what is to be done after a pass that could do its work. `looks`: those that were left when it began.

    `cut_short`: it was to take nothing new, so there is more to do as soon as something may begin.
    """
    left = looks if paces.has_failed else looks - 1
    look_at = NEVER
    if cut_short:
        look_at = ended + max(paces.again_s, 1.0)
    elif paces.again_s and (paces.has_failed or left > 0):
        look_at = ended + paces.again_s + AGAIN_MORE_S
    return replace(
        wishes,
        poll_at=began + paces.poll_s,
        look_at=min(wishes.look_at, look_at),
        looks=max(wishes.looks, left, 0),
        failures=0,
        files_failed=wishes.files_failed + 1 if paces.has_failed else 0,
    )


def after_failure(wishes: Wishes, looks: int, ended: float, wait_s: float) -> Wishes:
    """Say what is to be done after a pass that failed as a whole: the same again, later."""
    return replace(wishes, looks=max(wishes.looks, looks), retry_at=ended + wait_s, failures=wishes.failures + 1)


def is_finished(wishes: Wishes) -> bool:
    """Say whether the passes made so far have done all that a slot was for."""
    return not wishes.failures and not wishes.files_failed and wishes.look_at == NEVER
