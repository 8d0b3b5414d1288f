"""Who leads: etcd's own recipe. Each candidate has a key on its lease; the one made first leads; nobody polls.

A candidate watches only its predecessor, so that an end of leadership wakes one, not all. Leadership ends with the key,
with the lease, or with the store going back in time; `Leadership.fence` makes every write prove that it has not.

Candidates may be better or worse (`prefer`): one whose turn it is lets a better one that waits go first, by making its
key anew behind the others, once for each of them. So of those that are there the best one leads after at most as many
turns as there are candidates, also where they do not agree who is best.

Source: etcd `client/v3/concurrency/election.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from mft.aio import backoff, boottime
from mft.errors import Exhausted, LeadershipLost, MftError, NotFound, Unavailable
from mft.etcd.beside import beside
from mft.etcd.keeper import LeaseKeeper, LeaseState, lease_held
from mft.etcd.lease import lease_hex
from mft.etcd.ops import Condition, Delete, Get, Put, create_revision
from mft.etcd.watch_stream import WatchTimes

if TYPE_CHECKING:
    from mft.etcd.client import EtcdClient

# An election must not wait half a minute after an outage; few watch one key.
_WATCH_TIMES: Final = WatchTimes(backoff_most_s=2.0)
_RESIGN_S: Final = 1.0
_RECHECK_S: Final = 30.0


class Candidate(NamedTuple):
    """One that leads or waits to."""

    key: str
    value: bytes
    create_revision: int
    lease_id: int


Prefer = Callable[[Candidate, Sequence[Candidate]], Awaitable[Candidate | None]]
"""Given the candidate whose turn it is, and those that wait, in order: who of them should lead instead; None: nobody.

Raises `Unavailable` where that cannot be known now: it is asked again.
"""


class Leadership:
    """The right to lead, from winning until `lost`. It ends at the latest at `deadline_s`, server or no server."""

    def __init__(self, candidate: Candidate, keeper: LeaseKeeper) -> None:
        self.key, self.value, self.create_revision, self.lease_id = candidate
        self.lost = asyncio.Event()
        """Set as soon as this process knows. It may know late: `check` before every outside effect."""
        self.why = ""
        """Why it was lost; empty until then."""
        self._keeper = keeper

    @property
    def fence(self) -> Condition:
        """What every write of this leadership compares, so that a late one is refused."""
        return create_revision(self.key) == self.create_revision

    @property
    def deadline_s(self) -> float:
        """On CLOCK_BOOTTIME: from here on somebody else may lead. It moves with each renewal; in the past once lost."""
        state = self._keeper.state.value
        return state.deadline_s if state.lease_id == self.lease_id and not self.lost.is_set() else 0.0

    def check(self) -> None:
        """Raise `LeadershipLost` unless this process may still act. Call it right before every outside effect."""
        if boottime() >= self.deadline_s:
            raise LeadershipLost(f"leadership {self.key} is lost: {self.why or 'the lease was not renewed in time'}")

    def end(self, why: str) -> None:
        """Mark it lost; the first reason stays."""
        if not self.lost.is_set():
            self.why = why
            self.lost.set()


class Election:
    """One election, among all that campaign under the same prefix. `value` is what others see of this candidate."""

    def __init__(
        self, client: EtcdClient, keeper: LeaseKeeper, *, prefix: str, value: bytes, prefer: Prefer | None = None
    ) -> None:
        self._client = client
        self._keeper = keeper
        self._prefix = prefix if prefix.endswith("/") else prefix + "/"
        self._value = value
        self._prefer = prefer
        self._leadership: Leadership | None = None
        self._left: set[str] = set()
        """Keys that were written here and not seen deleted: etcd may have been away when they should have been."""

    @property
    def leadership(self) -> Leadership | None:
        """The leadership whose block runs now, if there is one. To give it up call its `end`."""
        return self._leadership

    async def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, in the order in which they come to lead: the first one leads."""
        listing = await self._client.kv.get_prefix(self._prefix)
        everyone = (Candidate(kv.key, kv.value, kv.create_revision, kv.lease) for kv in listing.kvs)
        return tuple(sorted(everyone, key=lambda candidate: candidate.create_revision))

    @asynccontextmanager
    async def campaign(self) -> AsyncIterator[Leadership]:
        """Wait, as long as it takes, to lead; lead while the block runs; resign at its end.

            async with election.campaign() as leadership, asyncio.TaskGroup() as tasks:
                work = tasks.create_task(lead(leadership), name="lead")
                await leadership.lost.wait()
                work.cancel()

        The block is not cancelled when leadership is lost: it watches `lost` itself, and must have stopped its work
        when it ends, because resigning lets the next one begin. Outages are waited for; raises `Denied` and the like.
        """
        preferred: set[int] = set()  # Leases of those that were let go first.
        while True:
            candidacy = await self._enter(await lease_held(self._keeper))
            if candidacy is None:
                continue
            try:
                stirred = asyncio.Event()
                async with beside(self._guard(candidacy, stirred), name=f"guard:{self._prefix}"):
                    if await self._won(candidacy, stirred, preferred):
                        self._leadership = candidacy
                        yield candidacy
                        return
            finally:
                self._leadership = None
                candidacy.end("the campaign has ended")
                await self._resign(candidacy)

    async def _enter(self, lease: LeaseState) -> Leadership | None:
        """Make this process' key. None if the lease turned out to be gone."""
        key = self._prefix + lease_hex(lease.lease_id)
        for wait_s in backoff(0.1, 2.0):
            state = self._keeper.state.value
            if state.lease_id != lease.lease_id or not state.held(boottime()):
                return None
            try:
                await self._leave_behind(key)
                self._left.add(key)
                result = await self._client.kv.txn(
                    when=[create_revision(key) == 0],
                    then=[Put(key, self._value, lease.lease_id)],
                    otherwise=[Get(key)],
                )
                if result.succeeded:
                    made = Candidate(key, self._value, result.header.revision, lease.lease_id)
                    return Leadership(made, self._keeper)
                # Our own key of an earlier campaign, or of a write whose answer was lost. A term is never used twice.
                left = result.listing(0).kv
                if left is not None:
                    await self._client.kv.txn(when=[create_revision(key) == left.create_revision], then=[Delete(key)])
                    continue
            except NotFound:
                pass  # etcd does not know the lease any more; the keeper will find out too.
            except (Unavailable, Exhausted):
                pass
            await asyncio.sleep(wait_s)
        raise AssertionError("backoff goes on for ever")

    async def _leave_behind(self, key: str) -> None:
        """Delete the keys of earlier candidacies, which would stand ahead of the new one until their lease runs out.

        What they permitted has stopped: a campaign's block is over before the next campaign begins. Their lease is this
        process' own, so nobody else ever writes them. (Revoking that lease would end other keys on it as well, whose
        work may still be going on.)
        """
        for old in self._left - {key}:
            await self._client.kv.delete(old, idempotent=True)
            self._left.discard(old)

    async def _won(self, candidacy: Leadership, stirred: asyncio.Event, preferred: set[int]) -> bool:
        """Wait until nobody is ahead. False if the candidacy was lost first, or is given up for a better candidate.

        A listing from the past would do no harm: who is ahead of our key was there before it, and never comes back.
        """
        waits = backoff(0.1, 2.0)
        while not candidacy.lost.is_set():
            stirred.clear()
            try:
                everyone = await self.candidates()
                ahead = [one for one in everyone if one.create_revision < candidacy.create_revision]
                better = None if ahead else await self._better(candidacy, everyone, preferred)
            except Unavailable:
                await asyncio.sleep(next(waits))
                continue
            if not any(one.create_revision == candidacy.create_revision for one in everyone):
                candidacy.end("the candidate's key was deleted")
            elif better:
                preferred.add(better.lease_id)
                candidacy.end("a better candidate goes first")
            elif not ahead:
                return not candidacy.lost.is_set()
            else:
                async with beside(self._stir_at_end(ahead[-1], stirred), name=f"predecessor:{self._prefix}"):
                    try:
                        async with asyncio.timeout(_RECHECK_S):
                            await stirred.wait()
                    except TimeoutError:
                        pass
        return False

    async def _better(
        self, candidacy: Leadership, everyone: Sequence[Candidate], preferred: set[int]
    ) -> Candidate | None:
        """Say who waits and should lead instead. One that was let go first, and did not come to lead, is not again."""
        own = Candidate(candidacy.key, candidacy.value, candidacy.create_revision, candidacy.lease_id)
        waiting = [one for one in everyone if one.key != own.key and one.lease_id not in preferred]
        return await self._prefer(own, waiting) if self._prefer is not None and waiting else None

    async def _stir_at_end(self, predecessor: Candidate, stirred: asyncio.Event) -> None:
        """Set `stirred` once the predecessor's key is gone."""
        async with self._client.watch(predecessor.key, prefix=False, times=_WATCH_TIMES) as watch:
            async for view in watch.follow():
                kv = view.items.get(predecessor.key)
                if kv is None or kv.create_revision != predecessor.create_revision:
                    stirred.set()

    async def _guard(self, candidacy: Leadership, stirred: asyncio.Event) -> None:
        """End the candidacy, or leadership, when the lease or the key is lost."""
        try:
            async with (
                beside(self._guard_lease(candidacy, stirred), name=f"lease:{self._prefix}"),
                self._client.watch(candidacy.key, prefix=False, times=_WATCH_TIMES) as watch,
            ):
                async for view in watch.follow():
                    kv = view.items.get(candidacy.key)
                    if view.regressions:
                        candidacy.end("etcd was restored from a backup")
                    elif kv is None or kv.create_revision != candidacy.create_revision:
                        candidacy.end("its key was deleted")
                    if candidacy.lost.is_set():
                        stirred.set()
        except MftError as error:
            candidacy.end(error.message)
        finally:
            candidacy.end("the campaign has ended")
            stirred.set()

    async def _guard_lease(self, candidacy: Leadership, stirred: asyncio.Event) -> None:
        async for state in self._keeper.state.follow(every_s=1.0):
            if state.lease_id != candidacy.lease_id or not state.held(boottime()):
                candidacy.end(state.why or "its lease was lost")
                stirred.set()

    async def _resign(self, candidacy: Leadership) -> None:
        """Delete the key, if it is still this candidacy's. If etcd does not answer, the lease's end does it."""
        try:
            await self._client.kv.txn(
                when=[candidacy.fence], then=[Delete(candidacy.key)], idempotent=True, limit_s=_RESIGN_S
            )
        except MftError:
            return
        self._left.discard(candidacy.key)
