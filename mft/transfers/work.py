"""What a pass has to do: what earlier attempts left open, and the sources that are ready now."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from mft.aio import boottime
from mft.errors import Denied, Exhausted, LeadershipLost, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.dates import Moment, is_same_hour
from mft.model.delivery import LEDGER_ENTRIES_MANY, LEDGER_ENTRIES_MAX, TAKEN_FOLDER, Kept, Record, taken_at
from mft.transfers.context import RunContext
from mft.transfers.failures import Failure
from mft.transfers.missing import Missing
from mft.transfers.remotes.base import Entry, join
from mft.transfers.selection import is_dated, is_marker, is_wanted, moment_of, walk
from mft.transfers.taking import DeliveryIds, Stability, Taken, find_taken, identity, new_deliveries, take

GONE_SOURCES_MAX = 1000
"""Vanished sources that one pass reports, so that the answer stays small; the next pass reports more."""
_REFUSALS_MAX = 10
"""Sources in a row that cannot be taken, after which it is the folder and not the files."""
_SOON_S = 1.0
"""When there is room in the ledger again, new sources do not wait for long."""
_NO_TEXT = "its name is no UTF-8, so it cannot be journalled: rename it"


class Tally:
    """What a pass has done so far."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self.gone: tuple[str, ...] = ()
        """Sources that the ledger knows and that are no longer there; at most a batch of them each pass."""
        self.failure: Failure | None = None
        """What the error means with which the pass ended."""
        self.wait_s = 0.0
        """After how many seconds something that waits is due; 0: nothing waits."""
        self.awaits = ""
        """What files that are there wait for, in words."""

    def waits(self, wait_s: float) -> None:
        """Take note of something that is due in so many seconds."""
        self.wait_s = min(self.wait_s or wait_s, wait_s)


class Item(NamedTuple):
    """One delivery to make, and what the journal says of it."""

    taken: Taken
    record: Record | None = None

    @property
    def key(self) -> str:
        """What its failures are counted under: a kept source has a new delivery each time."""
        return f"kept:{self.taken.name}" if self.taken.is_kept else self.taken.delivery

    @property
    def source(self) -> Kept | None:
        """The kept source as it is."""
        return identity(self.taken.seen) if self.taken.is_kept and self.taken.seen else None


class LeftOpen(NamedTuple):
    """What earlier attempts left, the oldest first."""

    due: list[Item]
    waiting: list[Item]
    """Failed lately, or perhaps still being written."""
    held: list[Item]
    """Uncertain: for the operator to decide. Newer files of the name wait, so that they are not overwritten."""
    aside: list[Item]
    """In quarantine."""

    def all(self) -> list[Item]:
        """List all of them."""
        return [*self.due, *self.waiting, *self.held, *self.aside]


class Work:
    """What there is to do in one pass. Nothing here delivers."""

    def __init__(self, context: RunContext, records: Mapping[str, Record], stability: Stability, tally: Tally) -> None:
        self._context = context
        self._spec = context.spec
        self._records = records
        self._stability = stability
        self._tally = tally
        self._refusals = 0
        self.refused = 0
        """Sources that could not be taken now."""
        self._is_dated = is_dated(context.spec)
        self._ids = DeliveryIds(context.transfer)
        self.moment = moment_of(context.spec, context.began_at)
        """By which dates in expressions are judged: one for the whole pass, however long it takes."""

    def go_on_with(self, items: Iterable[Item]) -> None:
        """Judge dates as when these were taken: to their batch belongs what was meant then, not what is meant today."""
        times = [at for item in items if (at := taken_at(item.taken.delivery))]
        self.moment = self.moment._replace(at=min(times, default=self.moment.at))

    async def left_open(self) -> LeftOpen:
        """List what stands in `.mft/` and what else the journal has open. A record that means nothing any more goes."""
        found = await self._taken()
        self._stability.begin()
        left = LeftOpen([], [], [], [])
        for taken in found:
            if not _is_text(taken.name):
                self.report(taken.name, _NO_TEXT)
                left.waiting.append(Item(taken))
                continue
            self._sort(left, Item(taken, self._records.get(taken.delivery)))
        known = {taken.delivery for taken in found}
        has_folder = bool(found) or await self._has_taken_folder()
        for delivery, record in self._records.items():
            if delivery in known:
                continue
            item = Item(Taken(delivery, record.name, is_kept=record.kept is not None), record)
            if record.kept is not None:
                self._sort(left, item)
            elif record.state in ("intent", "done", "taken"):
                left.due.append(item)  # Its source was removed, so as a rule it was done; only the record is left.
            elif has_folder and (record.state == "quarantined" or not self._is_held(record)):
                await self._context.journal.forget(delivery)  # The operator has taken the file away.
        return left

    async def sources(self) -> AsyncGenerator[tuple[Entry, bool], None]:
        """Yield the sources that the transfer means, and whether each is stable. Empty folders go, if they are to."""
        async with aclosing(self._wanted() if self._spec.delete_source else self._kept()) as wanted:
            async for entry in wanted:
                yield entry, self._is_stable(entry.name, entry)

    async def begin(self, entry: Entry) -> Item | None:
        """Take a source, or begin with one that is kept; None if it has vanished or cannot be taken now.

        Raises:
            MftError: none can be taken, so it is not the file's fault.
        """
        self._context.permit.check()
        if not _is_text(entry.name):
            self.refuse(entry, _NO_TEXT)
            return None
        [delivery] = self.new_deliveries([entry])
        if not self._spec.delete_source:
            return Item(Taken.of(delivery, entry, is_kept=True))
        try:
            taken = await take(self._context.source, self._spec.source_path, entry, delivery)
        except (Unavailable, Exhausted):
            raise
        except MftError as error:
            self._refusals += 1
            if self._refusals >= _REFUSALS_MAX:
                raise
            self.refuse(entry, str(error))
            return None
        self.took()
        self._context.memory.retries.forget(entry.name)  # The next one of this name is another file.
        if taken is None:
            fields = {"transfer": self._context.transfer, "path": join(self._spec.source_path, entry.name)}
            self._context.emit(catalogue.SOURCE_VANISHED, fields)
            return None
        return Item(taken)

    def new_deliveries(self, entries: Sequence[Entry]) -> list[str]:
        """Make an id for the delivery of each of these sources, with the time at which it is taken: now.

        Where a date counts and another hour has begun since, it is the time by which the source is meant: so what is
        asked later by the delivery's time, by any attempt of any leader, has the same answer.
        """
        now = time.time()
        if not self._is_dated:
            return new_deliveries(self._context.transfer, now, len(entries))
        meant = [self._meant_by(entry, now) or self.moment for entry in entries]
        here = self.moment._replace(at=now)
        return [self._ids.next(now if is_same_hour(moment, here) else moment.at) for moment in meant]

    def took(self) -> None:
        """Take note that sources could be taken: what is refused is single files again."""
        self._refusals = 0

    def refuse(self, entry: Entry, reason: str) -> None:
        """Leave a source where it is, and tell why; it is tried again."""
        self.refused += 1
        key, source = self._key_of(entry)
        at = self.moment.at
        retries = self._context.memory.retries
        retries.failed(key, boottime(), self._spec.retry, counts=False, source=source, began_at=at)
        self._tally.failed += 1
        self.report(entry.name, reason)

    def wait(self, wait_s: float, awaits: str) -> None:
        """Take note of what is waited for, and that there will be something to do in so many seconds; 0: not known."""
        self._tally.awaits = awaits
        if wait_s:
            self._tally.waits(wait_s)

    def is_due(self, entry: Entry) -> bool:
        """Say whether a source is not waiting after a failure."""
        return self._is_due(*self._key_of(entry))

    def report(self, name: str, reason: str, delivery: str = "") -> None:
        """Tell of a file (or folder) that fails and is tried again."""
        fields = {"transfer": self._context.transfer, "delivery": delivery}
        path = as_text(join(self._spec.source_path, name))
        self._context.emit(catalogue.FILE_FAILED_WILL_RETRY, {**fields, "path": path, "reason": as_text(reason)})

    async def _taken(self) -> list[Taken]:
        """List what stands in `.mft/`. Where sources stay, a server may keep it to itself, as our own service does."""
        try:
            return await find_taken(self._context.source, self._context.transfer, self._spec.source_path)
        except Denied as error:
            if self._spec.delete_source:
                error.message += (
                    ": sources are taken by moving them there; where that is refused, keep them (`delete_source`)"
                )
                raise
            return []

    async def _has_taken_folder(self) -> bool:
        """Say whether there is a `.mft/` at all: without one nobody has taken single files away; it is not mounted."""
        try:
            await self._context.source.lstat(join(self._spec.source_path, TAKEN_FOLDER))
        except (NotFound, Denied):
            return False
        return True

    def _sort(self, left: LeftOpen, item: Item) -> None:
        taken, record = item
        if record is not None and record.state == "quarantined":
            left.aside.append(item)
        elif record is not None and self._is_held(record):
            left.held.append(item)
        # Without a record it may have been taken while its producer was still writing, by a leader that was paused
        # between the look and the rename.
        elif record is None and not self._is_stable(taken.path(self._spec.source_path), taken.seen):
            left.waiting.append(item)
        else:
            (left.due if self._is_due(item.key, item.source) else left.waiting).append(item)

    def _is_held(self, record: Record) -> bool:
        """Say whether the delivery waits for the operator; it was reported when that began."""
        return record.state == "uncertain" and self._spec.on_uncertain == "hold"

    def _is_due(self, key: str, source: Kept | None) -> bool:
        wait_s = self._context.memory.retries.wait_s(key, boottime(), source)
        if wait_s:
            self._tally.waits(wait_s)
        return not wait_s

    def _is_stable(self, path: str, entry: Entry | None) -> bool:
        interval_s = self._spec.stable_interval_s
        is_stable = entry is None or self._stability.is_stable(path, entry, interval_s, time.time())
        if not is_stable:
            self._tally.waits(interval_s)
        return is_stable

    def _key_of(self, entry: Entry) -> tuple[str, Kept | None]:
        """Say what failures of a source that is not taken are counted under."""
        return (entry.name, None) if self._spec.delete_source else (f"kept:{entry.name}", identity(entry))

    def _meant_by(self, entry: Entry, now: float) -> Moment | None:
        """Give the moment by which the transfer means a source; None if it does not.

        As a rule the pass's; else the one by which it was meant when it failed, for it was told that it is tried again.
        """
        if is_wanted(entry, self._spec, now, self.moment):
            return self.moment
        at = self._context.memory.retries.began_at(*self._key_of(entry)) if self._is_dated else None
        if at is None or not is_wanted(entry, self._spec, now, self.moment._replace(at=at)):
            return None
        return self.moment._replace(at=at)

    async def _wanted(self, missing: Missing | None = None) -> AsyncGenerator[Entry, None]:
        """Yield what the transfer means; `missing` hears of all that there is."""
        folder, recursive = self._spec.source_path, self._spec.recursive

        def skipped(path: str, reason: str) -> None:
            if reason:
                self.report(path, reason)
            if missing is not None:
                missing.skip(path)

        async with aclosing(walk(self._context.source, folder, skipped, recursive=recursive)) as entries:
            async for entry in entries:
                if missing is not None:
                    missing.meet(entry)
                if entry.is_folder:
                    await self._remove_if_empty_for_long(entry)
                elif self._meant_by(entry, time.time()) is not None:
                    yield entry

    async def _remove_if_empty_for_long(self, folder: Entry) -> None:
        """Remove a folder below the source folder; a file that came since keeps it."""
        empty_s = self._spec.delete_empty_folders_s
        if not empty_s or not self._stability.is_stable(folder.name + "/", folder, empty_s, time.time()):
            return
        self._context.permit.check()
        try:
            await self._context.source.remove_folder(join(self._spec.source_path, folder.name))
        except (Unavailable, LeadershipLost):
            raise
        except NotFound:
            pass
        except MftError as error:
            self.report(folder.name, str(error))

    async def _kept(self) -> AsyncGenerator[Entry, None]:
        """Yield the sources that stay and that are not delivered, as the ledger knows.

        One with an open record waits for the next pass, when the ledger knows what became of it. One in quarantine
        waits until it is another. Raises `Exhausted` at the end if there were more than the ledger has room for.
        """
        ledger = self._context.ledger
        aside = {record.name: (id, record) for id, record in self._records.items() if _is_aside(record)}
        is_open = {record.name for record in self._records.values() if record.kept and not _is_aside(record)}
        room, has_no_room = LEDGER_ENTRIES_MAX - len(ledger), False
        missing = Missing([*ledger, *aside])
        async for entry in self._wanted(missing):
            known = ledger.get(entry.name)
            delivery, quarantined = aside.get(entry.name, ("", None))
            if self._is_delivered(entry, known) or entry.name in is_open:
                continue
            if quarantined is not None:
                if quarantined.kept == identity(entry):
                    continue
                await self._context.journal.forget(delivery)
            if known is None and room <= 0:
                has_no_room = True
                continue
            room -= known is None
            yield entry
        await self._forget_gone(missing, {name: delivery for name, (delivery, _) in aside.items()}, room)
        if has_no_room and not self._tally.gone:
            raise Exhausted(
                f"the ledger is full: {LEDGER_ENTRIES_MAX} kept sources are delivered; archive some and remove folders"
                " that are empty then, or delete sources"
            )

    def _is_delivered(self, entry: Entry, known: Kept | None) -> bool:
        """Say whether what the ledger knows of a source counts for it as it is now.

        Where the path alone counts the ledger still has all the rest, which `intent` and `done` compare. A marker that
        was written anew says that another batch is complete, whatever its path.
        """
        if known is None or known == identity(entry):
            return known is not None
        return not self._spec.resend_changed and not is_marker(entry.name, self._spec, self.moment)

    async def _forget_gone(self, missing: Missing, aside: Mapping[str, str], room: int) -> None:
        """Have the ledger forget what is gone, and the quarantine (`aside`: name → delivery); warn of little room."""
        context = self._context
        is_crowded = room < LEDGER_ENTRIES_MAX - LEDGER_ENTRIES_MANY
        gone = await missing.gone(
            context.source, self._spec.source_path, context.memory.missing_since, is_crowded=is_crowded
        )
        for name in gone:
            if name in aside:
                await context.journal.forget(aside[name])  # The operator has taken the file away.
        self._tally.gone = tuple(itertools.islice((name for name in gone if name in context.ledger), GONE_SOURCES_MAX))
        if self._tally.gone and is_crowded:
            self._tally.waits(_SOON_S)
        elif is_crowded and context.memory.is_due_to_warn(boottime()):
            fields = {"transfer": context.transfer, "entries": len(context.ledger), "most": LEDGER_ENTRIES_MAX}
            context.emit(catalogue.LEDGER_FILLS, fields)


def as_text(text: str) -> str:
    """Write what is no UTF-8 so that it can be told."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _is_text(path: str) -> bool:
    """Say whether a path can be written down, in the journal and in events."""
    return as_text(path) == path


def _is_aside(record: Record) -> bool:
    return record.kept is not None and record.state == "quarantined"
