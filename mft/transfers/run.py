"""One pass over one transfer: first what earlier attempts left open, then what is ready now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

from mft.errors import MftError, NotFound
from mft.events import catalogue
from mft.model.delivery import Record, is_stale_temp
from mft.transfers.archive import purge_archive
from mft.transfers.attempts import Attempts, all_of, tell_internal
from mft.transfers.batches import run_batch
from mft.transfers.bundle import BUNDLES_MAX, FILES_MAX, Bundler, bundler_of
from mft.transfers.context import RunContext
from mft.transfers.failures import classify, internal
from mft.transfers.orphans import Prefixes, find_orphans
from mft.transfers.remotes.base import Entry
from mft.transfers.taking import Stability, delivery_prefix
from mft.transfers.work import Item, LeftOpen, Tally, Work

__all__ = ["Tally", "run_pass", "sweep_temp"]


async def run_pass(
    context: RunContext, records: Mapping[str, Record], stability: Stability, tally: Tally, *, sweep: bool
) -> None:
    """Deliver everything that can be delivered now, `parallel_files` at a time.

    `records` is delivery → record for all that the journal has open. A file that fails leaves the others alone; the
    pass itself ends early only where nothing more could succeed. What its error means is then in the tally.

    Raises:
        LeadershipLost: the term has ended.
        Unavailable: source or destination cannot be reached.
        MftError: the source folder cannot be listed, or the destination takes nothing.
    """
    try:
        work = Work(context, records, stability, tally)
        attempts = Attempts(context, work, tally)
        if sweep:
            await sweep_temp(context, records)
            await _tell_orphans(context)
        await (_stream if context.spec.batch is None else run_batch)(context, work, attempts)
        # Before it is said what went wrong: it may be that the archive's disk is full.
        await purge_archive(context, time.time(), _named(context, records))
        attempts.check()
    except MftError as error:
        tally.failure = tally.failure or classify(error, "pass", context.locations)
        raise
    except Exception as unforeseen:
        told = internal(unforeseen)
        context.memory.is_careful = True
        tell_internal(context, told)
        tally.failure = classify(told, "pass", context.locations)
        raise told from unforeseen


async def sweep_temp(context: RunContext, records: Mapping[str, Record]) -> None:
    """Remove temp files of this transfer that no record names and that are not of this run.

    Neither an earlier term nor an earlier run of this one can still journal an intent for them (the records were read
    when all its writes were settled), so nothing can be published from them. What may still be gone on with stays.
    """
    prefix = delivery_prefix(context.transfer)
    named = _named(context, records)
    try:
        stale = [
            entry.name
            async for entry in context.destination.scan(context.spec.destination_path or ".")
            if is_stale_temp(entry.name, prefix, context.term, context.run)
        ]
    except NotFound:
        return
    for name in stale:
        if name not in named:
            context.permit.check()
            try:
                await context.destination.remove(context.at_destination(name))
            except NotFound:
                pass


def _named(context: RunContext, records: Mapping[str, Record]) -> set[str]:
    """Give the temp names of earlier runs that may still become of use."""
    return {name for record in records.values() for name in record.names} | {*context.memory.temps(context.term)}


async def _tell_orphans(context: RunContext) -> None:
    """Tell of what stands in `.mft/` for transfers that are no longer in the config: nobody delivers it."""
    if not context.transfers:
        return
    known = Prefixes(context.transfers)
    for orphan in await find_orphans(context.source, context.spec.source_path, known, time.time()):
        context.emit(
            catalogue.TAKEN_IS_ORPHANED,
            {"location": context.spec.source_location, "path": orphan.path, "transfer": context.transfer},
        )


# ---- file by file


class _Names:
    """Of several taken sources of one name the oldest goes first, and a later one only after it has arrived.

    Otherwise an older content could come to stand over a newer one. Shape: name → what its last delivery in this pass
    will have come to.
    """

    def __init__(self) -> None:
        self._last: dict[str, asyncio.Future[bool]] = {}

    def enter(self, name: str) -> tuple[asyncio.Future[bool] | None, asyncio.Future[bool]]:
        """Queue up behind the earlier delivery of this name. Returns its outcome, if there is one, and the own."""
        earlier = self._last.get(name)
        own = self._last[name] = asyncio.get_running_loop().create_future()
        own.add_done_callback(lambda _: self._leave(name, own))
        return earlier, own

    def block(self, name: str) -> None:
        """Hold back later deliveries of this name in this pass: an earlier one is not tried."""
        _, own = self.enter(name)
        own.set_result(False)

    def is_blocked(self, name: str) -> bool:
        """Say whether a new source of this name could not be delivered in this pass, so that it is not taken yet."""
        last = self._last.get(name)
        return last is not None and last.done() and not last.result()

    def _leave(self, name: str, own: asyncio.Future[bool]) -> None:
        """Forget one that has arrived; one that failed stays, and holds back the later ones for this pass."""
        if not own.cancelled() and own.result() and self._last.get(name) is own:
            del self._last[name]


class _Queued(NamedTuple):
    """One delivery to make in this pass."""

    item: Item | Entry
    """An entry is a source that is not taken yet: many are taken at one time, as they are delivered."""
    earlier: asyncio.Future[bool] | None
    """Whether the delivery before it of the same name arrives."""
    arrived: asyncio.Future[bool]


_Queue = asyncio.Queue[_Queued | None]
_Bundles = asyncio.Queue[list[_Queued] | None]


_FILLING_S_MAX = 0.1
"""How long a bundle is filled."""


class _Feed:
    """Hands out what the walk finds: small files many at one time, as bundles, all others one by one.

    No file waits long for others to fill its bundle: a walk may be slow, or held up by large files.
    """

    def __init__(self, count: int, bundler: Bundler | None) -> None:
        self.singles: _Queue = asyncio.Queue(maxsize=count)
        self.bundles: _Bundles = asyncio.Queue(maxsize=1)
        self._bundler = bundler
        self._bundle: list[_Queued] = []
        self._since = 0.0
        """When the bundle was begun."""

    async def put(self, queued: _Queued) -> None:
        """Wait until there is room for this one."""
        if queued.earlier is None and self._bundler is not None and self._bundler.takes(queued.item):
            self._bundle.append(queued)
            if len(self._bundle) == 1:
                self._since = time.monotonic()
            elif len(self._bundle) == FILES_MAX:
                await self.hand_over()
            return
        # The earlier one may be in the bundle; and before the walk waits, nothing is to wait for the walk.
        if queued.earlier is not None or self.singles.full():
            await self.hand_over()
        await self.singles.put(queued)

    def is_overdue(self) -> bool:
        """Say whether a bundle was begun a while ago, so that it should be handed over, full or not."""
        return bool(self._bundle) and time.monotonic() - self._since > _FILLING_S_MAX

    async def end(self, singles: int, bundles: int) -> None:
        """Tell so many takers of each kind that there is no more."""
        await self.hand_over()
        for _ in range(singles):
            await self.singles.put(None)
        for _ in range(bundles):
            await self.bundles.put(None)

    async def hand_over(self) -> None:
        """Wait until the bundle is on its way, full or not."""
        bundle, self._bundle = self._bundle, []
        if len(bundle) == 1:
            await self.singles.put(bundle[0])
        elif bundle:
            await self.bundles.put(bundle)


async def _stream(context: RunContext, work: Work, attempts: Attempts) -> None:
    """Deliver each file as it is found: the walk waits for the deliveries, so a huge folder needs no huge memory.

    `parallel_files` at one time; a bundle of small ones counts as one.
    """
    left = await work.left_open()
    attempts.begin(left)
    async with aclosing(work.sources()) as sources:
        first = await attempts.next_of(sources)
        if first is None and not left.due:
            return  # As most passes find it: they cost no task for each file that there could be.
        count = context.spec.parallel_files
        bundler = bundler_of(context, work, attempts)
        feed = _Feed(count, bundler)
        slots = asyncio.Semaphore(count)
        works = [partial(_deliver_all, attempts, feed.singles, slots)] * count
        if bundler is not None:
            works += [partial(_deliver_bundles, bundler, attempts, feed.bundles, slots)] * min(count, BUNDLES_MAX)
        found = _Found(left, first, sources, (count, len(works) - count))
        await all_of([partial(_feed, work, attempts, feed, found), *works], f"deliver:{context.transfer}")


class _Found(NamedTuple):
    """What there is to deliver in this pass."""

    left: LeftOpen
    first: tuple[Entry, bool] | None
    """The first of `sources`."""
    sources: AsyncGenerator[tuple[Entry, bool], None]
    takers: tuple[int, int]
    """How many tasks wait for single files, and for bundles."""


async def _feed(work: Work, attempts: Attempts, feed: _Feed, found: _Found) -> None:
    names = _Names()
    for item in (*found.left.waiting, *found.left.held):
        names.block(item.taken.name)
    for item in found.left.due:
        await feed.put(_Queued(item, *names.enter(item.taken.name)))
    source = found.first
    while source is not None and attempts.takes_new:
        entry, is_stable = source
        if is_stable and not names.is_blocked(entry.name) and work.is_due(entry):
            await feed.put(_Queued(entry, *names.enter(entry.name)))
        if feed.is_overdue():
            await feed.hand_over()
        source = await attempts.next_of(found.sources)
    await feed.end(*found.takers)


async def _deliver_all(attempts: Attempts, queue: _Queue, slots: asyncio.Semaphore) -> None:
    """Make deliveries from the queue until it says that there are no more."""
    while (queued := await queue.get()) is not None:
        arrived = False
        try:
            if queued.earlier is None or await queued.earlier:
                async with slots:
                    item = await attempts.take(queued.item) if isinstance(queued.item, Entry) else queued.item
                    arrived = item is not None and await attempts.deliver(item)
        finally:
            _settle(queued, arrived)


async def _deliver_bundles(bundler: Bundler, attempts: Attempts, queue: _Bundles, slots: asyncio.Semaphore) -> None:
    """Do the same with bundles."""
    while (bundle := await queue.get()) is not None:
        arrived = [False] * len(bundle)
        try:
            async with slots:
                if attempts.takes_new:
                    arrived = await bundler.deliver(
                        [queued.item for queued in bundle if isinstance(queued.item, Entry)]
                    )
        finally:
            for queued, has_arrived in zip(bundle, arrived, strict=True):
                _settle(queued, has_arrived)


def _settle(queued: _Queued, arrived: bool) -> None:
    # It is cancelled with whoever waits for it, where the whole pass ends.
    if not queued.arrived.done():
        queued.arrived.set_result(arrived)
