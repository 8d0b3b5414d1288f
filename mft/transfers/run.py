"""One pass over one transfer: first what earlier attempts left open, then what is ready now."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from mft.aio import give_way, is_only
from mft.errors import Exhausted, LeadershipLost, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.delivery import LEDGER_ENTRIES_MAX, Record, term_mark
from mft.transfers.delivery import RunContext, deliver
from mft.transfers.remotes.base import Entry, join
from mft.transfers.taking import (
    Stability,
    Taken,
    delivery_prefix,
    find_taken,
    identity,
    is_wanted,
    new_delivery,
    take,
)

GONE_SOURCES_MAX = 1000
"""Vanished sources that one pass reports, so that the answer stays small; the next pass reports more."""


class Tally:
    """What a pass has done so far."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self.gone: tuple[str, ...] = ()
        """Sources that the ledger knows and that are no longer there; at most a batch of them each pass."""


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

    def _leave(self, name: str, own: asyncio.Future[bool]) -> None:
        """Forget one that has arrived; one that failed stays, and holds back the later ones for this pass."""
        if own.result() and self._last.get(name) is own:
            del self._last[name]


async def run_pass(
    context: RunContext, records: Mapping[str, Record], stability: Stability, tally: Tally, *, sweep: bool
) -> None:
    """Deliver everything that can be delivered now, `parallel_files` at a time.

    `records` is delivery → record for all that the journal has open. A file that fails leaves the others alone; the
    pass itself ends early only where nothing more could succeed.

    Raises:
        LeadershipLost: the term has ended.
        Unavailable: source or destination cannot be reached.
        MftError: the source folder cannot be listed.
    """
    if sweep:
        await sweep_temp(context, records)
    queue: asyncio.Queue[_Item | None] = asyncio.Queue(maxsize=context.spec.parallel_files)
    names = _Names()
    try:
        async with asyncio.TaskGroup() as tasks:
            workers = [
                tasks.create_task(_deliver_all(context, queue, tally), name=f"deliver:{context.transfer}:{number}")
                for number in range(context.spec.parallel_files)
            ]
            async for taken, record in _work(context, records, stability, tally):
                await queue.put(_Item(taken, record, *names.enter(taken.name)))
            for _ in range(context.spec.parallel_files):
                await queue.put(None)
            # Here, not at the group's end: where a child fails while a group waits there, Python 3.11 leaves this task
            # marked as cancelled.
            await asyncio.wait(workers)
    except BaseExceptionGroup as group:
        give_way()
        if not is_only(group, MftError):
            raise
        raise _gravest(group) from group


async def sweep_temp(context: RunContext, records: Mapping[str, Record]) -> None:
    """Remove temp files of this transfer that no record names and that are not of this run.

    Neither an earlier term nor an earlier run of this one can still journal an intent for them (the records were read
    when all its writes were settled), so nothing can be published from them.
    """
    prefix = f".{delivery_prefix(context.transfer)}"
    mine = f".{term_mark(context.term)}.{context.run}-"
    named = {name for record in records.values() for name in record.names}
    try:
        stale = [
            entry.name
            async for entry in context.destination.scan(context.spec.destination_path or ".")
            if entry.name.startswith(prefix) and entry.name.endswith(".part") and mine not in entry.name
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


async def _work(
    context: RunContext, records: Mapping[str, Record], stability: Stability, tally: Tally
) -> AsyncIterator[tuple[Taken, Record | None]]:
    """Yield the deliveries to make: the open ones, those taken without a record, then newly taken sources."""
    folder, interval_s = context.spec.source_path, context.spec.stable_interval_s
    found = await find_taken(context.source, context.transfer, folder)
    stability.begin()
    for taken in found:
        record = records.get(taken.delivery)
        # Without a record it may have been taken while its producer was still writing, by a leader that was paused
        # between the look and the rename.
        if record is None and not _is_stable(stability, taken.path(folder), taken.seen, interval_s):
            continue
        if not _is_held(context, record):
            yield taken, record
    known = {taken.delivery for taken in found}
    for delivery, record in records.items():
        if record.kept is not None and not _is_held(context, record):
            yield Taken(delivery, record.name, is_kept=True), record
        elif record.kept is None and delivery not in known:
            # Its source was removed, so it was done; only the record is left.
            yield Taken(delivery, record.name), record
    if not context.spec.delete_source:
        async for kept in _kept(context, records, stability, tally):
            yield kept, None
        return
    async for entry in context.source.scan(folder):
        if not context.permit.takes_new:
            return
        if is_wanted(entry, context.spec) and _is_stable(stability, entry.name, entry, interval_s):
            context.permit.check()
            newly = await take(context.source, folder, entry, new_delivery(context.transfer, time.time()))
            if newly is not None:
                yield newly, None


async def _kept(
    context: RunContext, records: Mapping[str, Record], stability: Stability, tally: Tally
) -> AsyncIterator[Taken]:
    """Yield the sources that stay and that the ledger does not know as they are now.

    One with an open record waits for the next pass, when the ledger knows what became of it.
    """
    ledger = dict(context.ledger)
    is_open = {record.name for record in records.values() if record.kept is not None}
    room = LEDGER_ENTRIES_MAX - len(ledger)
    async for entry in context.source.scan(context.spec.source_path):
        if not context.permit.takes_new:
            return
        if not is_wanted(entry, context.spec):
            continue
        known = ledger.pop(entry.name, None)
        if known == identity(entry) or entry.name in is_open:
            continue
        if not _is_stable(stability, entry.name, entry, context.spec.stable_interval_s):
            continue
        if known is None and room <= 0:
            raise Exhausted(
                f"the ledger is full: {LEDGER_ENTRIES_MAX} kept sources are delivered; archive some, or delete sources"
            )
        room -= known is None
        context.permit.check()
        yield Taken(new_delivery(context.transfer, time.time()), entry.name, entry, is_kept=True)
    tally.gone = tuple(itertools.islice(ledger, GONE_SOURCES_MAX))


def _is_stable(stability: Stability, path: str, entry: Entry | None, interval_s: float) -> bool:
    return entry is None or stability.is_stable(path, entry, interval_s, time.time())


def _is_held(context: RunContext, record: Record | None) -> bool:
    """Say whether the delivery waits for the operator; it was reported when that began."""
    return record is not None and record.state == "uncertain" and context.spec.on_uncertain == "hold"


class _Item(NamedTuple):
    """One delivery to make in this pass."""

    taken: Taken
    record: Record | None
    earlier: asyncio.Future[bool] | None
    """Whether the delivery before it of the same name arrives."""
    arrived: asyncio.Future[bool]


async def _deliver_all(context: RunContext, queue: asyncio.Queue[_Item | None], tally: Tally) -> None:
    """Make deliveries from the queue until it says that there are no more. The border where one file's failure ends."""
    while (item := await queue.get()) is not None:
        try:
            if item.earlier is None or await item.earlier:
                await deliver(context, item.taken, item.record)
                tally.delivered += 1
                item.arrived.set_result(True)
        except LeadershipLost:
            raise
        except MftError as error:
            tally.failed += 1
            _report(context, item.taken, error)
            if isinstance(error, Unavailable):
                raise  # The connection is gone: no other delivery of this pass could succeed.
        finally:
            if not item.arrived.done():
                item.arrived.set_result(False)


def _report(context: RunContext, taken: Taken, error: MftError) -> None:
    context.emit(
        catalogue.FILE_FAILED_WILL_RETRY,
        {
            "transfer": context.transfer,
            "delivery": taken.delivery,
            "path": join(context.spec.source_path, taken.name),
            "reason": str(error),
        },
    )


def _gravest(group: BaseExceptionGroup[BaseException]) -> MftError:
    """Choose the one error that says most about a pass in which several deliveries failed."""
    errors = [error for error in group.exceptions if isinstance(error, MftError)]
    for kind in (LeadershipLost, Unavailable):
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[0] if errors else MftError(str(group))
