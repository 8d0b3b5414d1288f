"""One lease for a process, held for as long as it runs, with a deadline that needs no server to be believed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final, NamedTuple

from mft.aio import Latest, backoff, boottime
from mft.errors import MftError, NotFound
from mft.etcd.beside import beside
from mft.etcd.lease import Lease, Leases, lease_hex

_LAG_CHECKS_PER_TTL: Final = 20


class LeaseState(NamedTuple):
    """The lease as it is now. `lease_id` 0: none is held, and `why` says for what reason."""

    lease_id: int
    ttl_s: float
    deadline_s: float
    """On CLOCK_BOOTTIME. From here on others may believe that the lease has ended."""
    why: str

    def held(self, now_s: float) -> bool:
        """Whether the lease may still be acted on; `now_s` is `boottime()`, read at this very moment."""
        return self.lease_id != 0 and now_s < self.deadline_s


def margin_s(ttl_s: float) -> float:
    """How long before its end a lease is taken for lost: time enough to stop what depends on it."""
    return min(2.0, ttl_s / 4)


class LeaseKeeper:
    """Holds one lease: grants it, renews it every third of its TTL, and grants a new one when it is lost.

    Read `state.value` at each use, and its deadline right before every outside effect. The deadline counts from when
    the last successful request was *sent*: etcd counts from later. A renewal proves that much and no more: who leads
    is decided by comparing the election's key.
    """

    def __init__(self, leases: Leases, ttl_s: int = 10) -> None:
        self._leases = leases
        self._ttl_s = ttl_s
        self._state = Latest(_none("not granted yet"))
        self._grants = 0

    @property
    def state(self) -> Latest[LeaseState]:
        """The lease as it is now; follow it to learn of its loss."""
        return self._state

    @property
    def grants(self) -> int:
        """How many leases were granted so far: the first, and one more for each that was lost."""
        return self._grants

    async def run(self) -> None:
        """Hold a lease until cancelled. The lease is left to its end; who stops in order revokes it, as the last thing.

        No error of etcd ends this, a full or a forbidding one neither: `state.value.why` tells, and it tries again.
        """
        try:
            async with beside(self._watch_lag(), name="lease:lag"):
                while True:
                    self._state.set(_none(await self._renew_until_lost(await self._grant())))
        finally:
            self._state.set(_none("the lease's keeper has ended"))

    async def _grant(self) -> LeaseState:
        """Get a lease, however long that takes."""
        for wait_s in backoff(0.1, 2.0):
            sent_s = boottime()
            try:
                lease = await self._leases.grant(self._ttl_s)
            except MftError as error:
                self._state.set(_none(error.message))
            else:
                state = _held(lease, sent_s)
                if state.held(boottime()):
                    self._grants += 1
                    self._state.set(state)
                    return state
                self._state.set(_none(f"lease {lease_hex(lease.id)} was granted too late to be used"))
            await asyncio.sleep(wait_s)
        raise AssertionError("backoff goes on for ever")

    async def _renew_until_lost(self, state: LeaseState) -> str:
        """Renew at every third of the TTL, more often after a failure; return why the lease is lost."""
        name = f"lease {lease_hex(state.lease_id)}"
        trouble = "the process was not running"
        next_s = boottime() + state.ttl_s / 3
        waits = backoff(state.ttl_s / 40, state.ttl_s / 10)
        while self._state.value.lease_id == state.lease_id:
            wait_s = min(next_s, state.deadline_s) - boottime()
            if wait_s > 0:
                await self._sleep_while_held(wait_s)
                continue
            sent_s = boottime()
            if sent_s >= state.deadline_s:
                return f"{name} could not be renewed in time: {trouble}"
            try:
                # Half the time left, so that a hung member leaves room for another one.
                limit_s = max(0.05, min(state.ttl_s / 3, (state.deadline_s - sent_s) / 2))
                ttl_s = await self._leases.renew(state.lease_id, limit_s=limit_s)
            except NotFound:
                return f"{name} was ended by etcd"
            except MftError as error:
                trouble = error.message
                next_s = boottime() + next(waits)
            else:
                if self._state.value.lease_id != state.lease_id:
                    break
                state = _held(Lease(state.lease_id, ttl_s), sent_s)
                self._state.set(state)
                next_s, waits = sent_s + state.ttl_s / 3, backoff(state.ttl_s / 40, state.ttl_s / 10)
        return self._state.value.why

    async def _sleep_while_held(self, wait_s: float) -> None:
        """Sleep, but wake at once when the lag watch gave the lease up."""
        lease_id = self._state.value.lease_id
        try:
            async with asyncio.timeout(wait_s):
                async with aclosing(self._state.follow()) as states:
                    async for state in states:
                        if state.lease_id != lease_id:
                            return
        except TimeoutError:
            pass

    async def _watch_lag(self) -> None:
        """Give the lease up when this loop lagged by more than a quarter of the TTL.

        On CLOCK_BOOTTIME, so that a suspended machine counts as lag too.
        """
        nap_s = self._ttl_s / _LAG_CHECKS_PER_TTL
        while True:
            before_s = boottime()
            await asyncio.sleep(nap_s)
            state = self._state.value
            lag_s = boottime() - before_s - nap_s
            if state.lease_id and lag_s > state.ttl_s / 4:
                name = f"lease {lease_hex(state.lease_id)}"
                self._state.set(_none(f"{name} was given up: the event loop stood still for {lag_s:.1f} s"))


def _held(lease: Lease, sent_s: float) -> LeaseState:
    return LeaseState(lease.id, lease.ttl_s, sent_s + lease.ttl_s - margin_s(lease.ttl_s), "")


def _none(why: str) -> LeaseState:
    return LeaseState(0, 0.0, 0.0, why)


async def lease_held(keeper: LeaseKeeper) -> LeaseState:
    """Wait until the keeper holds a lease, and give it."""
    async with aclosing(keeper.state.follow(every_s=1.0)) as states:
        async for state in states:
            if state.held(boottime()):
                return state
    raise AssertionError("a state is followed for ever")
