"""A prefix as it is in etcd, kept true by list and watch. Who uses it asks what is, not what changed.

1.  List; watch from the next revision.
2.  Each watch has a stream of its own; fragments are joined; a refusal is looked for before a success.
3.  Compacted: list again, a normal path. Denied: log in afresh once, then raise.
4.  Only delivered events move the resume point, never a progress mark, and events at or below it are dropped.
5.  Silence in spite of progress requests: the next member.
6.  A revision below the highest seen, or another cluster: ask by linearizable reads. If they agree, the store went back
    in time (restored from a backup): list again and count a regression.
7.  A raft term below the highest seen: likewise, or else the member is stale: the next one.
8.  List anew now and then in any case.
9.  Come back with full jitter.
10. `health` tells how it goes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import NamedTuple

from mft.aio import Latest, backoff, boottime
from mft.errors import Exhausted, Unavailable
from mft.etcd.endpoints import Endpoints
from mft.etcd.errors import Compacted, Fault
from mft.etcd.high_water import HighWater, Standing
from mft.etcd.kv import Kv
from mft.etcd.member import Failed, Member
from mft.etcd.records import Header, KeyValue, Listing, decode_key, encode_key, prefix_range
from mft.etcd.watch_stream import Batch, Change, WatchTimes, open_watch


class View(NamedTuple):
    """Everything under the watched prefix at one revision. It never changes; the next state is a new view."""

    items: Mapping[str, KeyValue]
    revision: int
    header: Header
    regressions: int
    """How often etcd was found to have gone back in time since the watch began: it was restored from a backup."""


class WatchHealth(NamedTuple):
    """How a watch is doing."""

    idle_s: float
    """Seconds since the last proof that a server is alive and serves us; infinite before the first."""
    streams: int
    relists: int
    compactions: int
    regressions: int
    repaired: int
    """Keys that a listing showed to have been missed by the stream. Anything but 0 is a defect, here or in etcd."""
    trouble: str
    """Why there is no stream now; empty if there is one."""


class _Counts:
    """The figures of `WatchHealth`, counted."""

    def __init__(self) -> None:
        self.streams = self.relists = self.compactions = self.regressions = self.repaired = 0


class Watch:
    """Keeps a prefix, or one key, as it is in etcd. Opened by `EtcdClient.watch`."""

    def __init__(
        self,
        endpoints: Endpoints,
        kv: Kv,
        key: str,
        *,
        prefix: bool,
        floor_revision: int = 0,
        times: WatchTimes | None = None,
        observe: Callable[[tuple[Change, ...]], None] | None = None,
    ) -> None:
        self._endpoints, self._kv = endpoints, kv
        self._key, self._prefix = key, prefix
        self._range = prefix_range(key) if prefix else (encode_key(key), b"")
        self._times = times or WatchTimes()
        self._observe = observe
        self._items: dict[str, KeyValue] = {}
        self._revision = 0
        """The state is that of this revision; 0: list first."""
        self._water = HighWater(floor_revision)
        self._header = Header(0, 0, 0, 0)
        self._must_list = True
        self._serial = Latest(0)
        self._view: tuple[int, View] | None = None
        self._counts = _Counts()
        self._alive_s = float("-inf")
        self._behind_since_s: float | None = None
        self._shown_regressions = 0
        self._trouble = "not listed yet"
        self._waits = backoff(self._times.backoff_first_s, self._times.backoff_most_s)
        self._denied = 0
        self._member: Member
        """Whom the newest stream was opened to."""

    @property
    def view(self) -> View | None:
        """The newest state; None until the first listing."""
        serial = self._serial.value
        if serial == 0:
            return None
        if self._view is None or self._view[0] != serial:
            items = MappingProxyType(dict(self._items))
            self._view = (serial, View(items, self._revision, self._header, self._counts.regressions))
        return self._view[1]

    @property
    def health(self) -> WatchHealth:
        """How the watch is doing, now."""
        counts = self._counts
        idle_s = boottime() - self._alive_s
        return WatchHealth(
            idle_s,
            counts.streams,
            counts.relists,
            counts.compactions,
            counts.regressions,
            counts.repaired,
            self._trouble,
        )

    async def follow(self, every_s: float | None = None) -> AsyncGenerator[View, None]:
        """Yield the state as soon as it is known, then the newest one after changes and, if told, by the clock."""
        async for _ in self._serial.follow(every_s):
            view = self.view
            if view is not None:
                yield view

    async def listed(self) -> View:
        """Wait for the first listing, and give the newest state."""
        async with aclosing(self.follow()) as views:
            async for view in views:
                return view
        raise AssertionError("views are followed for ever")

    async def run(self) -> None:
        """Keep the state true until cancelled. Outages are waited for. Raises `Denied` if a fresh login is too."""
        while True:
            try:
                if self._must_list:
                    await self._list()
                await self._follow_stream()
                self._must_list = True
                continue
            except Compacted as error:
                self._counts.compactions += 1
                self._must_list = True
                self._trouble = error.message
            except Failed as failed:
                self._trouble = failed.error.message
                self._judge(failed)
            except (Unavailable, Exhausted) as error:
                self._trouble = error.message
            await asyncio.sleep(next(self._waits))

    def _judge(self, failed: Failed) -> None:
        """Prepare the next stream, or raise what waiting does not heal: a denial in spite of a fresh login."""
        if failed.fault in {Fault.TRANSPORT, Fault.NEVER_LEFT}:
            self._endpoints.rotate(self._member)
            return
        self._denied += 1
        # etcd calls an expired token "permission denied" (etcd #12385): believe only what a fresh one is told.
        if failed.fault is Fault.FINAL or self._denied > 1 or not self._endpoints.logs_in:
            raise failed.error from failed
        self._member.token = None

    async def _list(self) -> None:
        """Read everything and make it the state."""
        if self._prefix:
            listing = await self._kv.get_prefix(self._key)
        else:
            got = await self._kv.get(self._key)
            kvs = (got.kv,) if got.kv else ()
            listing = Listing(got.header, kvs, got.header.revision, len(kvs))
        if self._water.judge(listing.header) is not Standing.FINE and not await self._went_back():
            raise Unavailable(f"list {self._key}: the answer was older than one before")
        self._counts.relists += 1
        items = {kv.key: kv for kv in listing.kvs}
        self._counts.repaired += sum(
            kv.mod_revision <= self._revision and self._items.get(kv.key) != kv for kv in listing.kvs
        )
        regressions = self._counts.regressions
        changed = items != self._items or self._serial.value == 0 or self._shown_regressions != regressions
        self._shown_regressions = regressions
        self._items, self._revision, self._must_list = items, listing.revision, False
        self._note(listing.header)
        if changed:
            self._serial.set(self._serial.value + 1)

    async def _follow_stream(self) -> None:
        """Follow one stream until it is time to list again. Raises as it ends otherwise."""
        loop = asyncio.get_running_loop()
        relist_at = loop.time() + self._times.relist_s * random.uniform(0.5, 1.5)
        doing, self._member = f"watch {self._key}", self._endpoints.current
        async with open_watch(
            self._endpoints, *self._range, self._revision + 1, doing=doing, times=self._times
        ) as stream:
            opened = loop.time()
            self._counts.streams += 1
            while loop.time() < relist_at:
                batch = await stream.next_batch()
                if await self._doubtful(batch.header, doing):
                    return
                self._note(batch.header)
                self._apply(batch)
                self._denied = 0
                if loop.time() - opened >= self._times.progress_s:
                    self._waits = backoff(self._times.backoff_first_s, self._times.backoff_most_s)

    async def _doubtful(self, header: Header, doing: str) -> bool:
        """True if the store went back in time: list again. Raises `Failed` if it is this member that is stale."""
        standing, now_s = self._water.judge(header), boottime()
        if standing is Standing.FINE:
            self._behind_since_s = None
            return False
        first = self._behind_since_s is None
        since_s = now_s if self._behind_since_s is None else self._behind_since_s
        self._behind_since_s = since_s
        late = now_s - since_s > self._times.silence_s
        if standing is Standing.BEHIND and not first and not late:
            return False  # Asked a moment ago: it is catching up.
        if await self._went_back():
            return True
        if standing is not Standing.BEHIND or late:
            self._behind_since_s = None
            raise Failed(Fault.TRANSPORT, Unavailable(f"{doing}: this member is stale"))
        return False

    async def _went_back(self) -> bool:
        """Ask two members, where there are two, by linearizable reads; one alone may be answering from its past."""
        for _ in range(2):
            got = await self._kv.get(decode_key(self._range[0]))
            if self._water.judge(got.header) is Standing.FINE:
                return False
            self._endpoints.rotate(self._endpoints.current)
        self._counts.regressions += 1
        self._water.restart()
        self._revision, self._must_list = 0, True
        return True

    def _note(self, header: Header) -> None:
        self._water.note(header)
        self._header, self._alive_s, self._trouble = header, boottime(), ""

    def _apply(self, batch: Batch) -> None:
        """Make delivered changes part of the state; those at or below its revision were seen before."""
        fresh = tuple(change for change in batch.changes if change.kv.mod_revision > self._revision)
        for change in fresh:
            if change.deleted:
                self._items.pop(change.kv.key, None)
            else:
                self._items[change.kv.key] = change.kv
        if fresh:
            self._revision = fresh[-1].kv.mod_revision
            self._serial.set(self._serial.value + 1)
            if self._observe:
                self._observe(fresh)
