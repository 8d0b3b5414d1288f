"""When a leader gives way: to one that reaches more of the group's partners, or, where that is wished, to a better one.

A machine may be up, and its road to a partner not. So a leader whose passes fail at a location for a while asks the
other candidates whether they reach the group's partners, tries itself, and ends its leadership if one of them reaches
strictly more. What each of them reached stays in `probe/<group>/last` for some minutes, on a lease of its own: so long
those that reach more are better at elections (`prefer`), and no leader of the group gives way again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from msgspec import DecodeError

from mft.agent.probes import PROBE_S_MAX, Probes
from mft.agent.troubles import Troubles
from mft.aio import Latest, boottime
from mft.cluster.keys import Keys
from mft.cluster.membership import Yielded, decode_candidate, decode_yielded, encode
from mft.cluster.ranking import better, standing, successor
from mft.errors import LeadershipLost, MftError
from mft.etcd.client import EtcdClient
from mft.etcd.election import Candidate, Election, Leadership, Prefer
from mft.etcd.ops import Put
from mft.events import catalogue
from mft.model.config import Config
from mft.model.leader_groups import NO_LEADER_GROUP, LeaderGroupSpec
from mft.model.locations import LocalLocationSpec
from mft.model.transfers import TransferSpec, leader_group_of, locations_of

_BLAMED = frozenset({"", "transient", "partner"})
"""Classes of errors for which the way to the partner may be to blame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class YieldTimes:
    """How often is looked and asked, in seconds."""

    look_s: float = 1.0
    again_first_s: float = 30.0
    """Wait after an ask that changed nothing; it doubles up to the most: the partner is down for all, perhaps."""
    again_most_s: float = 300.0
    back_look_s: float = 10.0
    back_s: float = 60.0
    """How long a better candidate must have been there before leadership is given back to it."""


class Outcome(Protocol):
    """How a pass ended."""

    @property
    def error(self) -> str:
        """Why it failed as a whole; empty if it did not."""
        ...

    @property
    def delivered(self) -> int:
        """How many files were delivered."""
        ...

    @property
    def failed(self) -> int:
        """How many files failed."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether it was cut short here."""
        ...

    @property
    def error_class(self) -> str:
        """Class of the error."""
        ...

    @property
    def location(self) -> str:
        """Where it happened, if that is known."""
        ...


class Emit(Protocol):
    """Emits an event."""

    def __call__(self, id: int, fields: dict[str, Any]) -> object:
        """Emit the event of this id."""
        ...


class _Led:
    """One leadership here, and what is known of its partners."""

    def __init__(self, leadership: Leadership) -> None:
        self.leadership = leadership
        self.troubles = Troubles()
        self.asked = 0
        self.ask_at = 0.0
        self.look_back_at = 0.0
        self.better_since: dict[int, float] = {}
        self.is_asking = False


class Yielding:
    """Watches over the leaderships of this instance."""

    def __init__(
        self,
        *,
        name: str,
        etcd: EtcdClient,
        keys: Keys,
        config: Latest[Config],
        probes: Probes,
        emit: Emit,
        times: YieldTimes = YieldTimes(),
    ) -> None:
        self._times = times
        self._name = name
        self._etcd = etcd
        self._keys = keys
        self._config = config
        self._probes = probes
        self._emit = emit
        self._elections: dict[str, Election] = {}
        self._led: dict[str, _Led] = {}
        self._log = structlog.get_logger()

    def watch_over(self, group: str, election: Election) -> None:
        """Watch over the leaderships that are won in this election."""
        self._elections[group] = election

    def prefer(self, group: str) -> Prefer:
        """Give what decides at this group's elections who goes first."""

        async def prefer(own: Candidate, waiting: Sequence[Candidate]) -> Candidate | None:
            last = await self._last(group)
            index = better(_name(own), [_name(one) for one in waiting], self._spec(group), last)
            return None if index is None else waiting[index]

        return prefer

    def passed(self, group: str, transfer: str, began: float, outcome: Outcome) -> None:
        """Take note of how a pass ended that began then, on `boottime()`."""
        led, spec = self._current(group), self._config.value.transfers.get(transfer)
        if led is None or spec is None or outcome.cancelled:
            return
        if outcome.error and self._is_to_blame(outcome):
            failed = {outcome.location} if outcome.location else set(locations_of(spec))
            led.troubles.failed(failed, began, boottime())
        elif not outcome.error and (outcome.delivered or not outcome.failed):
            led.troubles.worked(locations_of(spec), began)

    async def run(self) -> None:
        """Look after the leaderships of this instance until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(self._times.look_s)
                for group in self._elections:
                    led = self._current(group)
                    if led is None or led.is_asking:
                        continue
                    if failing := self._is_due(group, led, boottime()):
                        led.is_asking = True
                        tasks.create_task(self._consult(group, led, failing), name=f"yield:{group}")
                    elif self._is_back_due(group, led, boottime()):
                        led.is_asking = True
                        tasks.create_task(self._look_back(group, led), name=f"prefer-back:{group}")

    def _is_to_blame(self, outcome: Outcome) -> bool:
        """Say whether the way there may be to blame. A missing folder may be storage that is not mounted here."""
        location = self._config.value.locations.get(outcome.location)
        is_missing = outcome.error_class == "configuration" and isinstance(location, LocalLocationSpec)
        return is_missing or outcome.error_class in _BLAMED

    def _current(self, group: str) -> _Led | None:
        """Give what is known of the leadership that this instance has now."""
        election = self._elections.get(group)
        leadership = election.leadership if election else None
        if leadership is None or leadership.lost.is_set():
            self._led.pop(group, None)
            return None
        led = self._led.get(group)
        if led is None or led.leadership is not leadership:
            led = self._led[group] = _Led(leadership)
        return led

    def _is_due(self, group: str, led: _Led, now: float) -> frozenset[str]:
        """Name the locations that have failed for so long that the others are to be asked now."""
        after_s = self._spec(group).yield_after_s
        if not after_s or now < led.ask_at:
            return frozenset()
        failing = led.troubles.failing(now, after_s)
        return failing & self._partners(group) if failing else failing

    def _is_back_due(self, group: str, led: _Led, now: float) -> bool:
        spec = self._spec(group)
        return bool(spec.prefer_back and now >= led.look_back_at and standing(self._name, spec, None).place)

    async def _consult(self, group: str, led: _Led, failing: frozenset[str]) -> None:
        """Ask who reaches the partners, and give way if another one reaches more. A border: no failure ends more."""
        wait_s = min(self._times.again_most_s, self._times.again_first_s * 2.0 ** min(led.asked, 8))
        led.asked += 1
        try:
            await self._give_way_if_better(group, led, failing)
        except MftError as error:
            self._log.warning("the other candidates could not be asked", leader_group=group, reason=str(error))
        finally:
            led.ask_at, led.is_asking = boottime() + wait_s, False

    async def _give_way_if_better(self, group: str, led: _Led, failing: frozenset[str]) -> None:
        if await self._last(group) is not None:
            return  # Somebody gave way a short while ago.
        waiting = await self._waiting(group)
        if not waiting:
            return
        partners, names = self._partners(group), sorted(failing)
        self._log.warning("partners fail here, asking who reaches them", leader_group=group, failing=names)
        reached = await self._ask(group, led, partners, frozenset(waiting))
        to = successor(self._name, reached, waiting, self._spec(group))
        counts = {name: len(found) for name, found in sorted(reached.items())}
        self._log.warning("asked who reaches the partners", leader_group=group, of=len(partners), reached=counts, to=to)
        if to is None:
            return
        reason = (
            f"{', '.join(names)} cannot be reached from here; of {len(partners)} locations {self._name} reaches "
            f"{counts[self._name]}, {to} {counts[to]}"
        )
        last = Yielded(by=self._name, to=to, reason=reason, reached=counts)
        lease = await self._etcd.leases.grant(max(2, round(self._spec(group).yield_again_s)))
        note = Put(self._keys.probe_last(group), encode(last), lease.id)
        if not (await self._etcd.kv.txn(when=[led.leadership.fence], then=[note], idempotent=True)).succeeded:
            raise LeadershipLost(f"another instance leads group {group} already")
        self._end(group, led, to, reason)

    async def _look_back(self, group: str, led: _Led) -> None:
        """End this leadership if a better candidate has been there for a while and reaches no less. A border too."""
        now = boottime()
        led.look_back_at = now + self._times.back_look_s
        try:
            spec, everyone = self._spec(group), await self._elections[group].candidates()
            own = standing(self._name, spec, None)
            there = {one.create_revision: _name(one) for one in everyone if standing(_name(one), spec, None) < own}
            led.better_since = {revision: led.better_since.get(revision, now) for revision in there}
            steady = {
                there[revision] for revision, since in led.better_since.items() if now - since >= self._times.back_s
            }
            if steady and await self._last(group) is None:
                led.look_back_at = now + self._times.again_most_s
                reached = await self._ask(group, led, self._partners(group), frozenset(steady))
                if to := successor(self._name, reached, sorted(steady), spec, more=0):
                    self._end(group, led, to, f"{to} is preferred and has been there for {self._times.back_s:g} s")
        except MftError as error:
            self._log.warning("the preferred candidates cannot be seen", leader_group=group, reason=str(error))
        finally:
            led.is_asking = False

    async def _ask(
        self, group: str, led: _Led, partners: frozenset[str], others: frozenset[str]
    ) -> Mapping[str, frozenset[str]]:
        working = led.troubles.working(boottime(), 3 * PROBE_S_MAX)
        return await self._probes.ask(group, led.leadership, partners, working, others)

    def _end(self, group: str, led: _Led, to: str, reason: str) -> None:
        if not led.leadership.lost.is_set():
            self._emit(catalogue.LEADERSHIP_YIELDED, {"leader_group": group, "to": to, "reason": reason})
            led.leadership.end(f"given to {to}: {reason}")

    async def _waiting(self, group: str) -> list[str]:
        """Name the other candidates, in the order in which they stand."""
        everyone = await self._elections[group].candidates()
        return [name for name in dict.fromkeys(map(_name, everyone)) if name != self._name]

    async def _last(self, group: str) -> Yielded | None:
        value = (await self._etcd.kv.get(self._keys.probe_last(group))).value
        try:
            return decode_yielded(value) if value is not None else None
        except DecodeError:
            return Yielded(by="", to="", reason="", reached={})  # Of another program version: keep the peace.

    def _spec(self, group: str) -> LeaderGroupSpec:
        return self._config.value.leader_groups.get(group, NO_LEADER_GROUP)

    def _partners(self, group: str) -> frozenset[str]:
        return partners_of(self._config.value.transfers, group)


def partners_of(transfers: Mapping[str, TransferSpec], group: str) -> frozenset[str]:
    """Name the locations that the transfers of a group use, shared folders included: they may be missing as well."""
    return frozenset(
        location
        for id, spec in transfers.items()
        if leader_group_of(id, spec) == group
        for location in locations_of(spec)
    )


def _name(candidate: Candidate) -> str:
    try:
        return decode_candidate(candidate.value).name
    except DecodeError:
        return ""
