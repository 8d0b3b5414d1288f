"""Attempts at the files of one pass: the border where one file's failure ends, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec

from mft.aio import boottime, cancellations, give_way, is_only
from mft.errors import Exhausted, LeadershipLost, MftError, Unavailable
from mft.events import catalogue
from mft.model.delivery import Record, taken_at
from mft.transfers.archive import archive_failed
from mft.transfers.commands import run_after_failure
from mft.transfers.context import RunContext
from mft.transfers.delivery import Prepared, prepare, publish
from mft.transfers.failures import INTERNAL, Failure, Step, classify, internal
from mft.transfers.remotes.base import Entry, join
from mft.transfers.work import Item, LeftOpen, Tally, Work

T = TypeVar("T")

_WAITING_MAX = 1000
"""Files that have failed and wait; with more, nothing new is taken: it is hardly the files."""
_ASIDE_MAX = 10_000
"""Files in quarantine or uncertain: each has a record in etcd, which is no archive."""


class Attempts:
    """Makes attempts at single files. A failure is reported and remembered; only what ends the pass is raised."""

    def __init__(self, context: RunContext, work: Work, tally: Tally) -> None:
        self._context = context
        self._work = work
        self._tally = tally
        self._trouble: MftError | None = None
        self._step: Step = "file"
        """In which that happened."""
        self._waiting = self._aside = 0

    @property
    def takes_new(self) -> bool:
        """Whether new sources may be taken: the run may, and what failed was no more than single files."""
        return self._trouble is None and self._context.permit.takes_new

    def begin(self, left: LeftOpen) -> None:
        """Take note of what is open already and not tried now."""
        self._waiting, self._aside = len(left.waiting), len(left.held) + len(left.aside)
        self._bound()

    def check(self) -> None:
        """Raise what kept the pass from doing all that it should, if anything did."""
        if self._trouble is not None:
            self._tally.failure = classify(self._trouble, self._step, self._context.locations)
            raise self._trouble

    async def take(self, entry: Entry) -> Item | None:
        """Begin with a source; None if it has vanished or cannot be taken now, or if nothing new may be.

        Where none can be taken what is begun goes on to its end: on a full disk that is what makes room.
        """
        if not self.takes_new:
            return None
        try:
            return await self._work.begin(entry)
        except (LeadershipLost, Unavailable):
            raise
        except MftError as error:
            self._stop(error)
            return None
        except Exception as unforeseen:
            told = internal(unforeseen)
            if told.stable_code != INTERNAL:
                self._stop(told)
            else:
                tell_internal(self._context, told)
                self._work.refuse(entry, str(told))
            return None

    async def next_of(self, sources: AsyncGenerator[tuple[Entry, bool], None]) -> tuple[Entry, bool] | None:
        """Give the next source; None if there are no more, or no room to remember more. What is begun goes on then."""
        try:
            return await anext(sources, None)
        except Exhausted as error:
            self._stop(error)
            return None

    def _stop(self, error: MftError) -> None:
        """Take nothing new in this pass."""
        if self._trouble is None:
            self._trouble, self._step = error, "pass"

    async def deliver(self, item: Item) -> bool:
        """Bring one file to its destination. Returns whether it arrived."""
        async with self._context.turn():
            prepared = await self._prepare(item)
            return prepared is not None and await self._publish(item, prepared)

    async def prepare(self, item: Item) -> Prepared | None:
        """Bring one file up to its last rename; None if that failed."""
        async with self._context.turn():
            return await self._prepare(item)

    async def publish(self, item: Item, prepared: Prepared) -> bool:
        """Give a prepared file its final name. Returns whether it arrived."""
        async with self._context.turn():
            return await self._publish(item, prepared)

    async def _prepare(self, item: Item) -> Prepared | None:
        try:
            return await prepare(self._context, item.taken, item.record)
        except Exception as unforeseen:
            error = internal(unforeseen)
            failure, attempts = self.failed(item, error)
            # Only before any intent: after one it may be published already, and then has to be finished.
            is_new = item.record is None or item.record.state == "taken"
            if is_new and failure.counts and attempts >= self._context.spec.retry.attempts_max:
                await self._put_aside(item, error, attempts)
            return None

    async def _publish(self, item: Item, prepared: Prepared) -> bool:
        try:
            await publish(self._context, item.taken, prepared)
        except Exception as unforeseen:
            self.failed(item, internal(unforeseen))
            return False
        self.delivered(item)
        return True

    def delivered(self, item: Item) -> None:
        """Take note of a file that has arrived."""
        self._context.memory.retries.forget(item.key)
        self._tally.delivered += 1

    def failed(self, item: Item, error: MftError) -> tuple[Failure, int]:
        """Take note of a failure. Returns what it means, and how many count against the file by now.

        Raises:
            MftError: nothing more could succeed in this pass.
        """
        if isinstance(error, LeadershipLost):
            raise error
        failure = classify(error, "file", self._context.locations)
        self._tally.failed += 1
        self._work.report(item.taken.name, str(error), item.taken.delivery)
        if error.stable_code == INTERNAL:
            tell_internal(self._context, error)
        if isinstance(error, Unavailable):
            raise error  # The connection is gone: no other delivery of this pass could succeed.
        if failure.kind != "file":
            self._trouble = self._trouble or error
        retries, now, retry = self._context.memory.retries, boottime(), self._context.spec.retry
        at = taken_at(item.taken.delivery)
        attempts = retries.failed(item.key, now, retry, counts=failure.counts, source=item.source, began_at=at)
        self._tally.waits(retries.wait_s(item.key, now, item.source))
        self._waiting += 1
        self._bound()
        return failure, attempts

    def _bound(self) -> None:
        """Take nothing new where so much has failed that it is hardly the files."""
        if self._aside >= _ASIDE_MAX:
            message = f"{_ASIDE_MAX} files are in quarantine or uncertain: have them sent again, or remove them"
            self._trouble = self._trouble or Exhausted(message)
        elif self._waiting >= _WAITING_MAX:
            message = f"{_WAITING_MAX} files have failed and wait, so nothing new is taken until some of them arrive"
            self._trouble = self._trouble or Exhausted(message)

    async def _put_aside(self, item: Item, error: MftError, attempts: int) -> None:
        """Put a file into quarantine: journalled first, so that no leader tries it again, then told of.

        Raises:
            LeadershipLost, Unavailable: the pass cannot go on.
        """
        context, taken = self._context, item.taken
        before = item.record or Record(state="quarantined", name=taken.name, kept=item.source)
        record = msgspec.structs.replace(before, state="quarantined", reason=str(error), node=context.node)
        try:
            await context.journal.put(taken.delivery, record)
            context.memory.retries.forget(item.key)
            self._waiting, self._aside = self._waiting - 1, self._aside + 1
            fields = {"transfer": context.transfer, "delivery": taken.delivery, "attempts": attempts}
            path = join(context.spec.source_path, taken.name)
            context.emit(catalogue.FILE_QUARANTINED, {**fields, "path": path, "reason": str(error)})
            await run_after_failure(context, taken)  # While the source still stands where it is said to.
            if await archive_failed(context, taken):
                await context.journal.forget(taken.delivery)  # It is the operator's now.
        except (LeadershipLost, Unavailable):
            raise
        except MftError as failure:
            self._work.report(taken.name, f"in quarantine, but: {failure}", taken.delivery)


def tell_internal(context: RunContext, error: MftError) -> None:
    """Tell of an error that was not foreseen."""
    context.emit(catalogue.INTERNAL_ERROR, {"transfer": context.transfer, "reason": str(error)})


async def in_parallel(items: Iterable[T], work: Callable[[T], Awaitable[None]], count: int, name: str) -> None:
    """Do the work for each item, `count` at a time.

    Raises:
        MftError: one of them failed for all; the others were cancelled. Of several it is the gravest.
    """
    left = iter(items)

    async def some() -> None:
        for item in left:
            await work(item)

    await all_of([some] * count, name)


async def all_of(works: Iterable[Callable[[], Awaitable[None]]], name: str) -> None:
    """Do all of this at the same time; raises as `in_parallel`."""
    since = cancellations()
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(_awaited(work), name=f"{name}:{n}") for n, work in enumerate(works)]
            # Here, not at the group's end: where a child fails while a group waits there, Python 3.11 leaves this task
            # marked as cancelled.
            await asyncio.wait(running)
    except BaseExceptionGroup as group:
        give_way(since)
        if not is_only(group, MftError):
            raise
        raise _gravest(group) from group


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def _gravest(group: BaseExceptionGroup[BaseException]) -> MftError:
    """Choose the one error that says most about a pass in which several deliveries failed."""
    errors = [error for error in group.exceptions if isinstance(error, MftError)]
    for kind in (LeadershipLost, Unavailable):
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[0] if errors else MftError(str(group))
