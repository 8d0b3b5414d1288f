"""One transfer at its leader: pass after pass, when its config, its schedule, its partners and operators say so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog
from msgspec.structs import replace

from mft.aio import backoff, boottime, cancel_and_wait
from mft.cluster.steering import Steer
from mft.errors import Conflict, Invalid, LeadershipLost, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.delivery import Record
from mft.model.timetable import SLOTS_COUNTED_MAX, Timetable, timetable_of
from mft.model.transfers import TransferSpec, locations_of
from mft.model.windows import parse_days
from mft.transfers.breaker import wait_s
from mft.transfers.counting import judged
from mft.transfers.lead import Lead, Outcome
from mft.transfers.schedule import SWEEP_FIRST, next_sweep
from mft.transfers.starting import (
    LOOKS_MAX,
    NEVER,
    Begun,
    Clock,
    Decision,
    Paces,
    SlotState,
    Wishes,
    after_failure,
    after_pass,
    awaits,
    begin,
    begun,
    decide,
    first_wishes,
    is_finished,
    look_soon,
    next_pass_at,
    only_finishes,
    scheduled,
)
from mft.transfers.steering import Ending, TransferState, TransferStatus

_WALL_S_MAX = 60.0
"""Longest wait for the end of a period, because the wall's clock may be set in the meantime."""


class Passes:
    """Makes the passes of one transfer until its config is gone or the leadership ends."""

    def __init__(self, id: str, lead: Lead, steer: Steer | None) -> None:
        self._id = id
        self._lead = lead
        self._pause = _pause_of(steer)
        self._spec: TransferSpec | None = None
        self._times: Timetable | None = None
        self._wishes = Wishes(paused=self._pause is not None)
        self._slot = lead.slots.states.get(id, SlotState())
        self._noting = asyncio.Lock()
        self._next_slot: float | None = None
        self._changed = True
        self._stirred = asyncio.Event()
        self._work: asyncio.Task[Outcome] | None = None
        self._ending = Ending()
        self._state: TransferState = "idle"
        self._reason = ""
        self._last: Outcome = Outcome()
        self._last_at: float | None = None
        self._delivered = self._failed = 0
        self._sweep = SWEEP_FIRST
        self._began = 0.0
        self._made = 0
        self._log = structlog.get_logger()

    # ---- what others ask of it

    def change(self) -> None:
        """Read the config anew, and look at once: who changed it wants to see what comes of it."""
        self._changed = True
        self._stirred.set()

    def steer(self, steer: Steer | None) -> None:
        """Begin nothing more, or go on at once. A pass under way finishes the files that it has begun."""
        before, pause = self._pause, _pause_of(steer)
        self._pause = pause
        if (before is None) is (pause is None):
            return
        if pause is not None:
            self._wishes = replace(self._wishes, paused=True)
            self._ending.ask()
            self._lead.emit(catalogue.TRANSFER_PAUSED, {"transfer": self._id, "by": pause.by, "reason": pause.reason})
        elif before is not None:
            self._wishes = look_soon(replace(self._wishes, paused=False, retry_at=0.0), boottime())
            self._lead.emit(
                catalogue.TRANSFER_RESUMED, {"transfer": self._id, "by": (steer.by if steer else "") or "an operator"}
            )
        self._stirred.set()

    async def ask(self, reason: str) -> None:
        """Make a pass now, whatever windows, waits and broken partners say. Raises `Conflict` if it is paused.

        Once this returns it is made, also if another leads before it has begun.
        """
        if self._pause is not None:
            raise Conflict(f"transfer {self._id} is paused by {self._pause.by or 'an operator'}: resume it first")
        await self._note(asked=True)
        self._wishes = look_soon(replace(self._wishes, asked=True), boottime())
        self._lead.emit(catalogue.RUN_REQUESTED, {"transfer": self._id, "by": reason or "an operator"})
        self._stirred.set()

    def cancel(self, by: str = "") -> None:
        """End the pass under way. Raises `Conflict` if there is none."""
        if self._work is None or self._work.done():
            raise Conflict(f"transfer {self._id} makes no pass now")
        self._work.cancel()
        self._lead.emit(catalogue.TRANSFER_CANCELLED, {"transfer": self._id, "by": by or "an operator"})

    def look(self) -> None:
        """Look soon: something may have come."""
        self._wishes = look_soon(self._wishes, max(boottime(), self._began + 1.0))
        self._stirred.set()

    def free(self) -> None:
        """Go on at once: the location that it waited for works again."""
        self._wishes = replace(self._wishes, retry_at=0.0, broken=False)
        self._stirred.set()

    async def resend(self, delivery: str, by: str = "") -> None:
        """Have the next pass send the file of a delivery that is held."""
        record = self._lead.journal.open_records(self._id).get(delivery)
        if record is None:
            raise NotFound(f"transfer {self._id} has no open delivery {delivery}")
        if record.state not in {"uncertain", "quarantined"}:
            raise Conflict(f"delivery {delivery} is on its way: only what is uncertain or in quarantine is sent again")
        is_resent = record.state == "uncertain" and self._spec is not None and self._spec.on_uncertain == "resend"
        if is_resent and self._work is not None:
            # The pass under way writes this record too, and what it wrote must not be forgotten.
            raise Conflict(f"delivery {delivery} is being sent again already")
        if record.state == "quarantined":
            # Not forgotten: an intent of it may have been withdrawn, and a late copy of that must find a record.
            await self._commit({delivery: replace(record, state="taken", reason="")}, ())
        else:
            await self._commit({}, (delivery,))
        fields = {"transfer": self._id, "delivery": delivery, "path": record.name, "by": by or "an operator"}
        self._lead.emit(catalogue.RESEND_REQUESTED, fields)
        self._wishes = look_soon(self._wishes, boottime())
        self._stirred.set()

    def status(self, now: Clock) -> TransferStatus:
        """Say how it is."""
        states = [record.state for record in self._lead.journal.open_records(self._id).values()]
        at = next_pass_at(self._next_slot, self._times, self._wishes, now) if self._times else None
        return TransferStatus(
            transfer=self._id,
            state=self._state,
            next_pass_at=None if self._state == "running" else at,
            last_pass_at=self._last_at,
            last_error=self._last.error,
            error_class=self._last.error_class,
            location=self._last.location,
            failures=self._wishes.failures,
            delivered=self._delivered,
            failed=self._failed,
            open=sum(state in {"intent", "done"} for state in states),
            held=states.count("uncertain"),
            quarantined=states.count("quarantined"),
            missed=self._slot.missed,
            reason=self._pause.reason if self._pause is not None else self._reason or self._awaits(),
        )

    def _awaits(self) -> str:
        if self._times is None or self._state not in {"idle", "outside-window"}:
            return ""
        return self._last.awaits or awaits(self._next_slot, self._times, self._wishes)

    # ---- what it does

    async def run(self) -> None:
        """Make pass after pass; return once the transfer is no more in the config."""
        if not await self._enter():
            return
        try:
            while await self._up_to_date():
                self._stirred.clear()
                self._lead.leadership.check()
                await self._judge()
                decision = self._decide()
                if decision.make == "nothing":
                    await self._rest(decision)
                    continue
                async with self._lead.gate:
                    decision = self._decide()  # It may have been long.
                    if decision.make != "nothing" and await self._may_begin(decision):
                        await self._make(finish=decision.make == "finish")
        finally:
            self._lead.partners.given_up(self._id, boottime())

    def _decide(self) -> Decision:
        assert self._times is not None
        return decide(self._times, self._slot, self._next_slot, self._wishes, Clock.now())

    async def _rest(self, decision: Decision) -> None:
        self._state = decision.state
        if decision.state != "broken":
            self._reason = ""
        await self._wait(min(decision.wait_s, self._period_s() or NEVER))

    async def _wait(self, most_s: float) -> None:
        """Wait until something changes, at the most so long."""
        try:
            async with asyncio.timeout(None if most_s == NEVER else max(most_s, 0.0)):
                await self._stirred.wait()
        except TimeoutError:
            pass

    async def _enter(self) -> bool:
        """Begin with what the leader before has left."""
        if not await self._up_to_date():
            return False
        assert self._times is not None
        wishes = first_wishes(self._times, self._slot, has_open=self._has_open(), now=Clock.now())
        self._wishes = replace(wishes, paused=self._pause is not None)
        return True

    async def _up_to_date(self) -> bool:
        """Read the config, if it has changed. False: the transfer is gone."""
        while self._changed:
            self._changed = False
            config = self._lead.config.value
            spec = config.transfers.get(self._id)
            if spec is None:
                return False
            try:
                times = timetable_of(spec.start, config.calendars)
            except Invalid as error:
                self._state, self._reason = "waiting", str(error)
                self._last = Outcome(error=str(error), error_class="configuration")
                self._report()
                self._stirred.clear()
                if not self._changed:
                    await self._wait(NEVER)
                continue
            await self._follow(spec, times)
        return True

    async def _follow(self, spec: TransferSpec, times: Timetable) -> None:
        """Go by this config from now on."""
        self._spec, self._times = spec, times
        now = Clock.now()
        before = self._slot
        await self._note(scheduled(before, times, now.wall))
        if self._slot.mark != before.mark and times.cron:
            self._lead.emit(catalogue.SCHEDULE_SET, {"transfer": self._id, "at": told(self._next_slot, times.zone)})
        poll_at = now.boot if times.polls else NEVER
        self._wishes = replace(self._wishes, poll_at=poll_at, retry_at=0.0, has_open=self._has_open())

    async def _may_begin(self, decision: Decision) -> bool:
        """Say whether a pass is made, after its partners were looked at and its slots noted."""
        assert self._spec is not None
        assert self._times is not None
        now = Clock.now()
        held = None if self._wishes.asked else self._lead.partners.held(self._id, self._locations(), now.boot)
        if held is not None:
            self._reason = f"location {held.location} fails: {held.reason}"
            self._wishes = replace(self._wishes, retry_at=now.boot + held.wait_s, broken=True)
            return False
        self._wishes = replace(self._wishes, broken=False)
        if self._wishes.asked:
            await self._note(self._slot if self._times.polls else replace(self._slot, open=True), asked=False)
        if self._wishes.asked and not self._times.polls:
            return not self._wishes.paused  # Since; it is then gone on with when it is resumed.
        if not decision.came:
            return True
        missed = self._spec.start.missed
        slots = self._times.due(self._slot.slot, now.wall, 1 if missed == "catch-up" else SLOTS_COUNTED_MAX)
        if slots is None:
            return False
        came = begin(self._slot, slots, missed, now.wall)
        await self._note(came.state)
        self._tell_slots(came, missed)
        if came.runs:
            self._wishes = look_soon(self._wishes, now.boot)
        return came.runs

    async def _make(self, *, finish: bool) -> None:
        """Make one pass and take note of what it came to."""
        # A start by the clock has its looks as well.
        looks, self._wishes = self._wishes.looks or LOOKS_MAX, begun(self._wishes)
        self._state, self._last_at, self._began = "running", time.time(), boottime()
        self._made += 1
        ending = self._ending = Ending()
        if finish:
            ending.ask()
        self._lead.partners.begun(self._id, self._locations(), self._began)
        work = self._work = self._lead.spawn(self._pass(ending), name=f"pass:{self._id}")
        closing = self._ask_at_close(ending)
        try:
            while not (await asyncio.wait([work], timeout=self._period_s()))[0]:
                await self._judge()
        finally:
            closing()
            await cancel_and_wait(work)
            self._work = None
        outcome = Outcome(cancelled=True) if work.cancelled() else work.result()
        await self._settle(outcome, looks, cut_short=ending.asked)

    def _ask_at_close(self, ending: Ending) -> Callable[[], None]:
        """Have the pass end when its window closes; returns what calls that off."""
        assert self._times is not None
        closes = self._times.closes(time.time())
        if closes is None:
            return lambda: None
        return asyncio.get_running_loop().call_later(max(0.0, closes - time.time()), self._close, ending).cancel

    def _close(self, ending: Ending) -> None:
        # Another window may open at the very moment.
        if self._times is not None and not self._times.is_open(time.time() + 0.001):
            ending.ask()

    async def _pass(self, ending: Ending) -> Outcome:
        """Have a worker make the pass. The border where its failure ends."""
        lead, spec = self._lead, self._spec
        assert spec is not None
        try:
            # Else a write of the run before, whose worker has died, could come after this run has read the records.
            await lead.journal.settled(self._id)
            if not spec.delete_source and not lead.journal.has_ledger(self._id):
                await lead.journal.load_ledger(self._id)
            result = await lead.make_pass(
                transfer=self._id,
                group=lead.group,
                term=lead.term,
                deadline=lead.leadership.deadline_s,
                records=lead.journal.open_records(self._id),
                ledger={} if spec.delete_source else lead.journal.ledger(self._id),
                sweep=self._began >= self._sweep.due,
                commit=self._commit,
                ending=ending,
            )
            await lead.journal.forget_sources(self._id, result.gone)
        except LeadershipLost:
            raise
        except MftError as error:
            kind = "transient" if isinstance(error, Unavailable) else "configuration"
            return Outcome(error=str(error), error_class=kind)
        return Outcome(
            error=result.error,
            error_class=result.error_class,
            location=result.location,
            delivered=result.delivered,
            failed=result.failed,
            wait_s=result.wait_s,
            awaits=result.awaits,
        )

    async def _commit(self, puts: Mapping[str, Record], forgets: tuple[str, ...]) -> None:
        are_expected = self._spec is not None and self._spec.expect is not None
        try:
            await self._lead.journal.commit(self._id, puts, forgets, are_expected=are_expected)
        except LeadershipLost as error:
            self._lead.leadership.end(error.message)  # The journal may know before the election's watch does.
            raise
        if any(record.state == "done" for record in puts.values()):
            assert self._spec is not None
            # One that was to be tried need not go on to its end. Of the archive, which comes after, this says nothing.
            self._lead.partners.worked((self._spec.source_location, self._spec.destination_location))

    async def _settle(self, outcome: Outcome, looks: int, *, cut_short: bool) -> None:
        """Decide what comes next, after a pass."""
        assert self._spec is not None
        assert self._times is not None
        ended = boottime()
        self._last = outcome
        self._delivered += outcome.delivered
        self._failed += outcome.failed
        self._sweep = next_sweep(self._sweep, self._began, outcome.error, outcome.failed)
        if outcome.error:
            wait = wait_s(outcome.error_class, self._wishes.failures + 1, self._lead.rng)
            self._wishes = after_failure(self._wishes, looks, ended, wait)
            self._lead.partners.failed(self._id, outcome.location, outcome.error_class, outcome.error, ended)
            self._report()
        elif outcome.cancelled:
            # Not at once again: who cancels wants it to stop for now.
            self._wishes = after_pass(self._wishes, 0, self._paces(outcome), ended, ended, cut_short=False)
        else:
            self._lead.partners.worked(self._locations())
            paces = self._paces(outcome)
            more = cut_short and not only_finishes(self._times, self._slot)
            self._wishes = after_pass(self._wishes, looks, paces, self._began, ended, cut_short=more)
        self._lead.partners.given_up(self._id, ended)
        self._wishes = replace(self._wishes, has_open=self._has_open())
        if self._slot.open and (outcome.cancelled or is_finished(self._wishes)):
            await self._note(replace(self._slot, open=False))
        if outcome.delivered:
            self._lead.delivered(self._id)

    def _paces(self, outcome: Outcome) -> Paces:
        assert self._spec is not None
        assert self._times is not None
        again_s = outcome.wait_s or (self._spec.retry.first_s if outcome.failed else 0.0)
        # After its first pass a transfer looks earlier, so that not all of a leader look in one moment ever after.
        share = self._lead.rng.uniform(0.5, 1.0) if self._made == 1 else 1.0
        return Paces(self._spec.poll_interval_s * share if self._times.polls else NEVER, again_s, outcome.failed > 0)

    def _has_open(self) -> bool:
        return any(record.state in {"intent", "done"} for record in self._lead.journal.open_records(self._id).values())

    def _locations(self) -> tuple[str, ...]:
        assert self._spec is not None
        return locations_of(self._spec)

    # ---- what is written down and told

    async def _note(self, state: SlotState | None = None, *, asked: bool | None = None) -> None:
        """Write down how far the schedule is, and whether a pass is asked for. It counts only once it is written."""
        async with self._noting:  # Operators ask at any time.
            state = self._slot if state is None else state
            state = replace(state, asked=self._slot.asked if asked is None else asked)
            if state != self._lead.slots.states.get(self._id, SlotState()):
                await self._write(state)
            self._slot = state
        self._next_slot = self._times.next_slot(state.slot) if self._times is not None and state.mark else None

    async def _write(self, state: SlotState) -> None:
        for wait in backoff(0.1, 5.0):
            try:
                return await self._lead.slots.put(self._id, state)
            except LeadershipLost as error:
                self._lead.leadership.end(error.message)
                raise
            except Conflict as error:
                self._log.warning("a schedule was written by somebody else", transfer=self._id, reason=str(error))
            except MftError as error:
                self._log.warning("a schedule cannot be written", transfer=self._id, reason=str(error))
            await asyncio.sleep(wait)
        raise AssertionError("backoff goes on for ever")

    def _period_s(self) -> float | None:
        """Say after how many seconds to look whether a period is over; None: no files are expected."""
        end = self._slot.period_end
        return min(max(end - time.time(), 0.01), _WALL_S_MAX) if end else None

    async def _judge(self) -> None:
        """Where files are expected and a period is over: tell people if too few came, and begin the next."""
        spec = self._spec.expect if self._spec is not None else None
        calendars = self._lead.config.value.calendars
        days = [day for id in (spec.calendars if spec else ()) if id in calendars for day in calendars[id].days]
        arrived = self._lead.journal.arrived(self._id)
        state, short = judged(self._slot, spec, arrived, time.time(), parse_days(days))
        if short is not None and spec is not None:
            # Told first, so that the next leader tells it if this one dies over the note: twice is better than never.
            self._lead.leadership.check()
            zone = ZoneInfo(spec.time_zone)
            fields = {
                "transfer": self._id,
                "files": short.files,
                "files_min": spec.files_min,
                "begin": told(short.begin, zone),
                "end": told(short.end, zone),
            }
            self._lead.emit(catalogue.TOO_FEW_FILES, fields)
        if state != self._slot:
            await self._note(state)

    def _tell_slots(self, came: Begun, missed: str) -> None:
        assert self._times is not None
        fields = {"transfer": self._id, "at": told(came.at, self._times.zone), "policy": missed}
        if came.passed_over:
            fields["passed_over"] = str(came.passed_over)
        more = f"; {came.passed_over} more have no run of their own" if came.passed_over else ""
        if not came.runs:
            why = f"nobody led then, and missed = {missed!r}; {came.passed_over} in all"
            self._lead.emit(catalogue.SCHEDULE_SKIPPED, {**fields, "reason": why})
        elif came.late:
            self._lead.emit(catalogue.SCHEDULE_LATE, {**fields, "reason": f"missed = {missed!r}{more}"})
        if came.runs:
            self._lead.emit(catalogue.SCHEDULE_STARTED, fields)

    def _report(self) -> None:
        last, failures = self._last, self._wishes.failures
        self._log.warning(
            "pass failed", transfer=self._id, failures=failures, reason=last.error, error_class=last.error_class
        )
        fields = {"transfer": self._id, "failures": failures, "reason": last.error, "error_class": last.error_class}
        self._lead.emit(catalogue.RUN_FAILED_WILL_RETRY, {**fields, "location": last.location})


def told(at: float | None, zone: ZoneInfo) -> str:
    """Write a time for people, as the schedule's own clocks show it."""
    return "never" if at is None else datetime.fromtimestamp(at, zone).isoformat(timespec="seconds")


def _pause_of(steer: Steer | None) -> Steer | None:
    return steer if steer is not None and steer.paused else None
