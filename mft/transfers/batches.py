"""A batch: none of its files gets its final name before all of them stand at the partner; its marker comes last.

    take      all files of the batch, the marker last
    prepare   each: upload and `intent`; then take over those that an earlier attempt had prepared; then the marker
    publish   each; then the marker

Why that holds through a failover, without a record of the batch itself: whatever is taken, or journalled, and not
finished belongs to the batch, so a successor publishes nothing before all of that is prepared. It must only know
whether there is more of the batch in the source folder. There is not if a record exists, for the first comes after the
last file was taken; nor if the marker is taken. Of sources that are kept, nothing is taken: there the marker's own
record says so, being the last to be journalled. In all other cases what is there is looked at anew, with what is open.
A date in filter or marker is then that of the batch, which the ids of its deliveries have, not that of the day by now.
Between `intent` and the last rename the protocol allows for any pause, so waiting there adds nothing to check.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeVar

from mft.aio import boottime
from mft.events import catalogue
from mft.transfers.attempts import Attempts, in_parallel
from mft.transfers.context import RunContext
from mft.transfers.delivery import Prepared
from mft.transfers.gathering import Gathering
from mft.transfers.selection import is_marker
from mft.transfers.work import Item, LeftOpen, Work

T = TypeVar("T")


async def run_batch(context: RunContext, work: Work, attempts: Attempts) -> None:
    """Deliver the batch that is open, or the next one if it is complete. Raises as a pass does."""
    left = await work.left_open()
    attempts.begin(left)
    items = left.due
    stuck = len(left.all()) - len(items)
    if not _is_whole(context, left):
        if not attempts.takes_new:
            return
        more = await _take_more(context, work, left)
        if more is None:
            return
        items = [*items, *more]
    context.memory.waiting.end()
    if items:
        await _Delivery(context, attempts).run(items, stuck)


def _is_whole(context: RunContext, left: LeftOpen) -> bool:
    """Say whether all files of the batch are known: see the text above."""
    if context.spec.delete_source and any(item.record is not None for item in left.all()):
        return True
    return any(
        _is_marker(context, item) and (context.spec.delete_source or item.record is not None) for item in left.all()
    )


def _is_marker(context: RunContext, item: Item) -> bool:
    """Say whether this is the batch's marker, by the date of its delivery: today's may be another one."""
    return is_marker(item.taken.name, context.spec, context.moment_of(item.taken.delivery))


async def _take_more(context: RunContext, work: Work, left: LeftOpen) -> list[Item] | None:
    """Take what makes a batch together with what is open; None if it is not complete, or could not all be taken."""
    known = left.all()
    work.go_on_with(known)
    has_marker = any(_is_marker(context, item) for item in known)
    gathering = Gathering(context.spec, work.moment, taken=len(known), has_marker=has_marker)
    async with aclosing(work.sources()) as sources:
        async for entry, is_stable in sources:
            gathering.add(entry, is_stable=is_stable, is_due=work.is_due(entry))
    batch = gathering.result(context.memory.quiet, boottime())
    if batch.reason:
        work.wait(batch.wait_s, _tell_waiting(context, gathering.files, batch.reason))
        return None
    items = []
    for entry in batch.entries:
        refused = work.refused
        item = await work.begin(entry)
        if item is not None:
            items.append(item)
        elif work.refused > refused:
            return None  # The marker must not be taken before it.
    return items


def _tell_waiting(context: RunContext, files: int, reason: str) -> str:
    """Say what files wait for; where they have waited for long, tell people."""
    waiting, now = context.memory.waiting, boottime()
    since = datetime.fromtimestamp(time.time() - waiting.for_s(context.term, now), UTC).isoformat(timespec="seconds")
    assert context.spec.batch is not None
    if waiting.is_due_to_warn(context.spec.batch, now):
        fields = {"transfer": context.transfer, "files": files, "since": since, "reason": reason}
        context.emit(catalogue.BATCH_WAITS, fields)
    return f"{files} files have waited for their batch since {since}: {reason}"


class _Delivery:
    """One batch on its way in one pass."""

    def __init__(self, context: RunContext, attempts: Attempts) -> None:
        self._context = context
        self._attempts = attempts
        self._prepared: dict[str, Prepared] = {}
        self._failed = 0

    async def run(self, items: list[Item], stuck: int) -> None:
        """Bring it as far as it gets. With `stuck` files that cannot be tried now, nothing is published."""
        markers = [item for item in items if _is_marker(self._context, item)]
        files = [item for item in items if not _is_marker(self._context, item)]
        # What is prepared already is not touched before the rest is: each takeover is a write and a rename.
        uploads = [item for item in files if item.record is None or item.record.state == "taken"]
        takeovers = [item for item in files if not (item.record is None or item.record.state == "taken")]
        for step in (uploads, takeovers, markers):
            await self._in_parallel(step, self._prepare)
            if self._failed or stuck:
                break
        else:
            await self._in_parallel(_by_name(files), self._publish_in_order)
            if not self._failed:
                await self._publish_in_order(markers)
        self._tell(len(items) + stuck, is_delivered=not self._failed and not stuck)

    async def _prepare(self, item: Item) -> None:
        prepared = await self._attempts.prepare(item)
        if prepared is None:
            self._failed += 1
        else:
            self._prepared[item.taken.delivery] = prepared

    async def _publish_in_order(self, items: Iterable[Item]) -> None:
        """Publish these one after the other, up to the first that fails: an older file of a name goes first."""
        for item in items:
            if not await self._attempts.publish(item, self._prepared[item.taken.delivery]):
                self._failed += 1
                return

    async def _in_parallel(self, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
        await in_parallel(items, work, self._context.spec.parallel_files, f"batch:{self._context.transfer}")

    def _tell(self, files: int, *, is_delivered: bool) -> None:
        """Tell how it ended. What only goes on waiting was told before."""
        fields = {"transfer": self._context.transfer, "files": files}
        if is_delivered:
            self._context.emit(catalogue.BATCH_DELIVERED, fields)
        elif self._failed:
            reason = f"{self._failed} of them could not be delivered now"
            self._context.emit(catalogue.BATCH_FAILED_WILL_RETRY, {**fields, "reason": reason})


def _by_name(items: Iterable[Item]) -> list[list[Item]]:
    """Group what has one name, in the order given: the oldest first."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.taken.name, []).append(item)
    return list(groups.values())
