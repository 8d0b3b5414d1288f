"""Many small files at one time: each goes through the steps of a delivery in order, and all go through each together.

A step of one small file costs more in calls, tasks and answers than in bytes. So up to `FILES_MAX` of them are taken
and read in one visit to a thread, uploaded by requests that leave together, journalled in one write, and so on. Nothing
of the protocol (`delivery.py`) changes by that: each file has its own delivery, temp name and record, and no step of
any begins before the one before has succeeded for it. Whatever is not as it should be with one of them leaves it to the
calls for single files, as an attempt that ended there does; what ends a pass ends it here too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from mft.errors import MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.delivery import TAKEN_FOLDER, Record
from mft.model.expressions import compile_expression
from mft.model.locations import SshLocationSpec
from mft.transfers.attempts import Attempts
from mft.transfers.context import RunContext
from mft.transfers.converting import rule_for
from mft.transfers.delivery import Prepared, facts_of, remove_temp
from mft.transfers.folders import make_folders
from mft.transfers.located import LocatedRemote
from mft.transfers.overwrite import NO_LOOK
from mft.transfers.remotes.base import Entry, join
from mft.transfers.remotes.bundles import WHOLE_BYTES_MAX, GivesBundles, Move, TakesBundles, Took, Whole
from mft.transfers.taking import Taken
from mft.transfers.work import Item, Work

FILES_MAX = 120
"""Files of one bundle: as many as one transaction journals, and at most four mebibytes in memory."""
BUNDLES_MAX = 6
"""Under way at one time: while one waits for etcd or a disk, others go on."""


_Alone = list[tuple[int, Callable[[], Awaitable[bool]]]]
"""Files (by their place in the bundle) that have left it, and how each goes on by itself, after the others."""


class _File(NamedTuple):
    """One file of a bundle, once it is taken and read."""

    number: int
    """Its place in the bundle."""
    taken: Taken
    whole: Whole
    record: Record

    @property
    def item(self) -> Item:
        """As the single path knows it."""
        return Item(self.taken, self.record)

    @property
    def temp(self) -> str:
        """Name of its upload."""
        return self.record.names[-1]


def bundler_of(context: RunContext, work: Work, attempts: Attempts) -> Bundler | None:
    """Give what delivers small files together; None where the transfer wants more of each file than these steps do."""
    spec, source, destination = context.spec, context.source, context.destination
    is_plain = spec.delete_source and spec.content_check == "size" and spec.overwrite_rule in NO_LOOK
    adds_steps = spec.batch or spec.archive or spec.commands or spec.names or spec.destination_fallback_path
    places = (context.source_spec, context.destination_spec)
    is_bounded = any(isinstance(place, SshLocationSpec) and place.parallel_files_max for place in places)
    # One that names a date is judged by the delivery's time, which a file has only once it is in a bundle.
    is_dated = any(compile_expression(rule.match).is_dated for rule in spec.conversions)
    if (
        not is_plain
        or adds_steps
        or is_dated
        or is_bounded
        or spec.parallel_files == 1
        or not context.proves_publication
    ):
        return None
    if context.memory.is_careful:
        return None
    if not isinstance(source, LocatedRemote) or not isinstance(destination, LocatedRemote):
        return None
    giver, taker = source.remote, destination.remote
    if not isinstance(giver, GivesBundles) or not isinstance(taker, TakesBundles):
        return None
    return Bundler(context, work, attempts, (source, giver), (destination, taker))


class Bundler:
    """Makes the deliveries of small files of one run, many at one time."""

    def __init__(
        self,
        context: RunContext,
        work: Work,
        attempts: Attempts,
        source: tuple[LocatedRemote, GivesBundles],
        destination: tuple[LocatedRemote, TakesBundles],
    ) -> None:
        self._context = context
        self._work = work
        self._attempts = attempts
        self._source, self._giver = source
        self._destination, self._taker = destination
        self._place = context.place
        self._conversions = context.spec.conversions

    def takes(self, entry: Item | Entry) -> bool:
        """Say whether this may go in a bundle: a new source that is sent as it is.

        One whose name cannot be journalled is told of alone.
        """
        if not isinstance(entry, Entry) or entry.size_bytes > WHOLE_BYTES_MAX or not entry.name.isprintable():
            return False
        return not self._conversions or rule_for(self._conversions, entry.name, self._work.moment) is None

    async def deliver(self, entries: Sequence[Entry]) -> list[bool]:
        """Take these sources and bring them to their destination. Returns of each whether it arrived.

        What ends the pass is told as the pass's failure, not of each file.

        Raises:
            LeadershipLost: nothing more may be done in this term.
            MftError: nothing more could succeed in this pass.
        """
        arrived = [False] * len(entries)
        alone: _Alone = []
        files = await self._take(entries, alone)
        files = await self._upload(files, alone)
        files = await self._put(files)
        files = await self._publish(files, alone)
        files = await self._put(
            [file._replace(record=msgspec.structs.replace(file.record, state="done", names=())) for file in files]
        )
        for file in await self._finish(files):
            arrived[file.number] = True
            self._attempts.delivered(file.item)
        for index, by_itself in alone:
            arrived[index] = await by_itself()
        return arrived

    async def _take(self, entries: Sequence[Entry], alone: _Alone) -> list[_File]:
        """Take and read them."""
        context, folder = self._context, self._context.spec.source_path
        context.permit.check()
        deliveries = self._work.new_deliveries(entries)
        takens = [Taken.of(delivery, entry) for delivery, entry in zip(deliveries, entries, strict=True)]
        moves = [
            Move(join(folder, taken.name), join(folder, TAKEN_FOLDER, taken.delivery), taken.name) for taken in takens
        ]
        tooks = await self._moved(moves)
        others_are_taken = any(took.is_taken for took in tooks)
        files = []
        for index, (entry, taken, took) in enumerate(zip(entries, takens, tooks, strict=True)):
            if not took.is_taken:
                alone.append((index, partial(self._alone, entry, others_are_taken)))
            elif took.whole is None or took.whole.entry != taken.seen:
                alone.append((index, partial(self._attempts.deliver, Item(taken))))
            else:
                files.append(_File(index, taken, took.whole, self._intent(taken, took.whole)))
        return files

    async def _moved(self, moves: Sequence[Move]) -> list[Took]:
        with self._source.located:
            tooks = await self._giver.take_whole(moves)
        if any(took.is_taken for took in tooks):
            return tooks
        # Perhaps nothing was ever taken here. If it is something else, each meets it again by itself.
        try:
            await self._context.source.make_folder(join(self._context.spec.source_path, TAKEN_FOLDER))
        except Unavailable:
            raise
        except MftError:
            return tooks
        with self._source.located:
            return await self._giver.take_whole(moves)

    def _intent(self, taken: Taken, whole: Whole) -> Record:
        return Record(
            state="intent",
            name=taken.name,
            names=(self._context.new_temp(taken.delivery),),
            size_bytes=len(whole.content),
            sha256=whole.sha256,
            node=self._context.node,
            place=self._place,
        )

    async def _upload(self, files: list[_File], alone: _Alone) -> list[_File]:
        """Upload each under its temp name, and look whether it arrived whole and its source is still the same."""
        context, folder = self._context, self._context.spec.source_path
        if not (files := await self._with_folders(files, alone)):
            return []
        await context.throttle(sum(len(file.whole.content) for file in files))
        context.permit.check()
        with self._destination.located:
            sizes = await self._taker.write_whole([(context.at_destination(f.temp), f.whole.content) for f in files])
        with self._source.located:
            standing = await self._giver.look_at_all([file.taken.path(folder) for file in files])
        uploaded = []
        for file, size_bytes, entry in zip(files, sizes, standing, strict=True):
            if size_bytes == len(file.whole.content) and entry == file.whole.entry:
                context.progress(file.taken.delivery, file.taken.name, size_bytes, size_bytes)
                uploaded.append(file)
            else:
                alone.append((file.number, partial(self._anew, file)))
        return uploaded

    async def _with_folders(self, files: list[_File], alone: _Alone) -> list[_File]:
        """Make the folders that the names need; give the files that have theirs."""
        ready = []
        for file in files:
            try:
                await make_folders(self._context, file.record.final_name)
            except Unavailable:
                raise
            except MftError:
                alone.append((file.number, partial(self._attempts.deliver, Item(file.taken))))
            else:
                ready.append(file)
        return ready

    async def _put(self, files: list[_File]) -> list[_File]:
        """Journal them as they are now; give those that are."""
        if not files:
            return []
        return self._without(files, await self._context.journal.put_all({f.taken.delivery: f.record for f in files}))

    async def _publish(self, files: list[_File], alone: _Alone) -> list[_File]:
        """Give each its final name."""
        context = self._context
        if not files:
            return []
        names = [(context.at_destination(f.temp), context.at_destination(f.record.final_name)) for f in files]
        context.permit.check()
        with self._destination.located:
            errors = await self._taker.rename_all(names)
        published = []
        for file, error in zip(files, errors, strict=True):
            if error is None:
                published.append(file)
            elif isinstance(error, NotFound):  # Its folder may be gone, or its temp file.
                prepared = Prepared(file.record, is_published=False)
                alone.append((file.number, partial(self._attempts.publish, file.item, prepared)))
            else:
                self._attempts.failed(file.item, self._destination.locate(error))
        return published

    async def _finish(self, files: list[_File]) -> list[_File]:
        """After `done`: remove the sources, tell of it, forget."""
        context, folder = self._context, self._context.spec.source_path
        if not files:
            return []
        context.permit.check()
        places = [(join(folder, TAKEN_FOLDER, file.taken.delivery), file.taken.name) for file in files]
        with self._source.located:
            errors = await self._giver.remove_taken(places)
        removed = []
        for file, error in zip(files, errors, strict=True):
            if error is not None:
                self._attempts.failed(file.item, self._source.locate(error))
                continue
            context.emit(catalogue.FILE_DELIVERED, facts_of(context, file.taken, file.record))
            removed.append(file)
        return self._without(removed, await context.journal.forget_all([file.taken.delivery for file in removed]))

    def _without(self, files: list[_File], refused: Mapping[str, MftError]) -> list[_File]:
        """Report those that the journal refused; give the others."""
        if not refused:
            return files
        for file in files:
            if error := refused.get(file.taken.delivery):
                self._attempts.failed(file.item, error)
        return [file for file in files if file.taken.delivery not in refused]

    async def _alone(self, entry: Entry, others_are_taken: bool) -> bool:
        """Begin a source anew by itself: it could not be taken with the others."""
        if others_are_taken:
            self._work.took()
        item = await self._attempts.take(entry)
        return item is not None and await self._attempts.deliver(item)

    async def _anew(self, file: _File) -> bool:
        """Begin a taken source anew by itself: what stands at the destination is not what it should be."""
        await remove_temp(self._context, file.temp)
        return await self._attempts.deliver(Item(file.taken))
