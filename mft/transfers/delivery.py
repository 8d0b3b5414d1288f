"""One file, exactly once: upload under a temp name, `intent`, rename, `done`, remove the source, forget.

The order is the one that tests/model checks exhaustively. What each step relies on:

- every journal write is fenced by the term and by the record's mod revision, so a leader that lost its term is refused;
- the partner cannot be fenced, so a successor first makes the old temp names useless: it journals its own name beside
  them, then renames each old one, oldest first, to its own. Of two renames of one source at most one succeeds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from mft.errors import Conflict, LeadershipLost, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.delivery import TAKEN_FOLDER, Record
from mft.transfers.archive import archive_done
from mft.transfers.checking import Sent, check_arrived
from mft.transfers.commands import run_after, run_before
from mft.transfers.context import Journal, Permit, RunContext
from mft.transfers.failures import CHANGED
from mft.transfers.folders import make_folders, place, tell_diverted, wanted_of
from mft.transfers.naming import target_of, unstamped
from mft.transfers.overwrite import judge, make_way
from mft.transfers.remotes.base import Entry, join
from mft.transfers.sending import Sending
from mft.transfers.taking import Taken, identity, remove_taken

__all__ = ["Journal", "Permit", "Prepared", "RunContext", "deliver", "facts_of", "prepare", "publish", "remove_temp"]

_VANISHED = "its temp file vanished before it got its final name: the partner removes temp files, or repeated a request"
_UNCERTAIN = "its temp file is gone, which proves nothing at a partner that removes temp files or renames in two steps"
_MOVED = "its transfer has had another source or destination since: whether it was published shows only where it was"

_NAMES_MAX = 8
"""Temp names in a record before it is shortened. Only a delivery that fails again and again gets there."""


class Prepared(NamedTuple):
    """A delivery whose content stands at the destination, for certain."""

    record: Record
    is_published: bool
    """It has its final name already, or is left out. Else it stands under the record's newest temp name."""


async def deliver(context: RunContext, taken: Taken, record: Record | None) -> None:
    """Bring one taken source to its destination, from whatever state an earlier attempt left it in.

    Raises:
        LeadershipLost: nothing more may be done in this term.
        MftError: it did not succeed now; state and record are such that the next attempt goes on from here.
    """
    await publish(context, taken, await prepare(context, taken, record))


async def prepare(context: RunContext, taken: Taken, record: Record | None) -> Prepared:
    """Bring one taken source to its destination, up to its `intent`, but give it no final name. Raises as `deliver`."""
    if record is not None and record.state == "uncertain":
        # The policy is to send again: held ones are not even tried.
        await context.journal.forget(taken.delivery)
        record = None
    if record is None or record.state == "taken":
        record = await _begin(context, taken, record)
        return Prepared(record, is_published=record.state == "done")
    if record.state != "intent":
        return Prepared(record, is_published=True)
    record = await _claim(context, taken, record)
    if not await _is_taken(context, taken, record):
        return Prepared(msgspec.structs.replace(record, again=True), is_published=True)
    stands = await _take_over(context, taken, record)
    if stands:
        record = await _shortened(context, taken, record)
    return Prepared(record, is_published=not stands)


async def publish(context: RunContext, taken: Taken, prepared: Prepared) -> None:
    """Give a prepared delivery its final name, and do all that follows. Raises as `deliver`."""
    record, is_published = prepared
    if not is_published:
        record = await _publish_alone(context, taken, record)
    if record.state != "done":
        record = msgspec.structs.replace(record, state="done", names=())
        await context.journal.put(taken.delivery, record)
    await _finish(context, taken, record)


async def _begin(context: RunContext, taken: Taken, record: Record | None) -> Record:
    """Settle where the file goes, and bring it there under a temp name. Returns its `intent`; `done` if it is skipped.

    With a record it was withdrawn: nothing of it is at the partner.
    """
    if record is not None:
        await _still_there(context, taken, record)
    wanted = await place(context, target_of(context.spec.names, taken.name, context.moment_of(taken.delivery)))
    verdict = await judge(context, taken.delivery, wanted, wanted)
    if verdict.is_skipped:
        source = await context.source.lstat(taken.path(context.spec.source_path))
        return await _skip(context, taken, _record(context, taken, wanted, source))
    await run_before(context, taken, verdict.target)
    return await _upload(context, taken, wanted, verdict.target)


async def _upload(context: RunContext, taken: Taken, wanted: str, target: str) -> Record:
    """Upload under a new temp name, check what arrived, and journal the intent to publish it."""
    before = await context.source.lstat(taken.path(context.spec.source_path))
    if taken.seen is not None and before != taken.seen:
        raise Conflict(f"{taken.name} has changed since it was listed; it is sent when it is stable", code=CHANGED)
    sending = Sending(context, taken, before)
    try:
        await sending.send()
        await _check(context, sending)
        verdict = await judge(context, taken.delivery, wanted, target)
    except LeadershipLost:
        raise
    except Unavailable:
        sending.remember()
        raise  # Nothing can be cleaned up over a lost connection; a later sweep removes what is not gone on with.
    except MftError:
        await remove_temp(context, sending.temp)
        raise
    record = _record(context, taken, verdict.target, before, sending)
    if verdict.is_skipped:
        return await _skip(context, taken, record)
    # Never remembered from here on: a late `intent` that names a file which somebody has moved would prove too much.
    await context.journal.put(taken.delivery, record)
    return record


async def _check(context: RunContext, sending: Sending) -> None:
    # What was written over several connections is not believed by its size alone.
    how = "hash" if sending.is_resumed and context.spec.content_check == "size" else context.spec.content_check
    if how == "hash" and context.memory.reads_back:
        how = "read-back"
    sent = Sent(sending.path, sending.bytes_done, sending.sha256)
    try:
        await check_arrived(context.destination, sent, how, context.permit, context.throttle_read_back)
    except Unavailable:
        # Some servers end a connection over what they do not know: to ask again each time would never come to an end.
        context.memory.reads_back = context.memory.reads_back or how == "hash"
        raise


def _record(context: RunContext, taken: Taken, target: str, source: Entry, sending: Sending | None = None) -> Record:
    """Make the `intent` of a delivery, before any of it is published."""
    return Record(
        state="intent",
        name=taken.name,
        target="" if target == taken.name else target,
        names=(sending.temp,) if sending is not None else (),
        # Of what arrives: of a source that is converted it is another.
        size_bytes=sending.bytes_done if sending is not None else source.size_bytes,
        sha256=sending.sha256 if sending is not None else "",
        node=context.node,
        kept=identity(source) if taken.is_kept else None,
        place=context.place,
    )


async def _skip(context: RunContext, taken: Taken, record: Record) -> Record:
    """Count a source as delivered, because the destination has a file of that name. Its own upload goes.

    `done` first: with `intent` and no upload the next attempt would believe it published, which comes to the same, but
    would say so. Nobody else can publish it: it stands under a name that only this attempt uses.
    """
    done = msgspec.structs.replace(record, state="done", names=(), skipped=True)
    await context.journal.put(taken.delivery, done)
    if record.names:
        await remove_temp(context, record.names[-1])
    return done


async def _withdraw(context: RunContext, taken: Taken, record: Record) -> None:
    """Take an intent back: its upload stands under the own name, and may not get its final name.

    The record stays, as `taken`: forgotten, an `intent` that etcd applies late would find "no record" once more, and
    its missing temp file would prove a publication that never was. Journalled before the upload is removed, for the
    same reason. tests/model searches this with `withdraws`.
    """
    withdrawn = msgspec.structs.replace(record, state="taken", names=(), target="")
    await context.journal.put(taken.delivery, withdrawn)
    await remove_temp(context, record.names[-1])


async def _still_there(context: RunContext, taken: Taken, record: Record) -> None:
    """Return if the source of a withdrawn delivery can be sent again; else forget the delivery."""
    folder = context.spec.source_path
    await context.source.lstat(folder)  # If the folder itself is away, nothing is proven: this raises.
    try:
        now = await context.source.lstat(taken.path(folder))
    except NotFound:
        await context.journal.forget(taken.delivery)
        fields = {"transfer": context.transfer, "delivery": taken.delivery, "path": join(folder, taken.name)}
        context.emit(catalogue.SOURCE_VANISHED, fields)
        raise
    if record.kept is not None and record.kept != identity(now):
        # Another content by now, which is sent when it is stable. At worst a late `intent` writes a ledger entry for
        # the old one, which does not hold for the new one.
        await context.journal.forget(taken.delivery)
        raise Conflict(f"{taken.name} has changed since it was listed; it is sent when it is stable", code=CHANGED)


async def _publish_alone(context: RunContext, taken: Taken, record: Record) -> Record:
    """Publish while no other delivery of this run looks at that name.

    Name rules may make one name of two, and then an overwrite rule several of one, which differ in their time.
    """
    async with context.targets.hold(unstamped(record.final_name)):
        return await _publish(context, taken, record)


async def _publish(context: RunContext, taken: Taken, record: Record) -> Record:
    """Give the newest temp file its final name. Returns the record; `done` if the overwrite rule had it skipped.

    That it is not there is no answer to trust: no other attempt knows this name, so either the partner has removed it,
    or the rename was made and the answer is that to a repeated request (NFS). Both are possible: it is uncertain.
    """
    record = await _final_look(context, taken, record)
    if record.state == "done":
        return record
    temp, final = context.at_destination(record.names[-1]), context.at_destination(record.final_name)
    for is_last in (False, True):
        context.permit.check()
        try:
            await context.destination.rename(temp, final)
            break
        except NotFound as error:
            if not is_last and "/" in record.final_name and await _exists(context, record.names[-1]):
                target = await place(context, record.final_name, anew=True)  # A consumer may tidy folders away.
                if target == record.final_name:
                    continue
                # Nobody waits for anybody in a circle: from below the fallback folder nothing goes elsewhere.
                record = msgspec.structs.replace(record, target=target)
                await context.journal.put(taken.delivery, record)
                return await _publish_alone(context, taken, record)
            await _confirm_gone(context, record.names[-1])
            raise await _uncertain(context, taken, record, _VANISHED) from error
    return record


async def _final_look(context: RunContext, taken: Taken, record: Record) -> Record:
    """Obey the overwrite rule right before the rename. Returns the record as it then is."""
    target = record.final_name
    try:
        wanted = target
        if context.spec.overwrite_rule in ("timestamp-always", "timestamp-to-new-file"):
            wanted = wanted_of(context, taken, target)
        verdict = await judge(context, taken.delivery, wanted, target)
    except Conflict:
        await _withdraw(context, taken, record)
        raise
    if verdict.is_skipped:
        return await _skip(context, taken, record)
    if verdict.target != target:
        record = msgspec.structs.replace(record, target=verdict.target)
        await context.journal.put(taken.delivery, record)
    await make_folders(context, verdict.target)
    await make_way(context, taken.delivery, verdict.target)
    return record


async def _finish(context: RunContext, taken: Taken, record: Record) -> None:
    """After `done`: commands, archive, removal of the source, the event. Each may be made again after a failover."""
    if not record.skipped:
        await run_after(context, taken, record)
    await archive_done(context, taken)
    context.permit.check()
    if not taken.is_kept:
        await remove_taken(context.source, context.spec.source_path, taken)
    facts = facts_of(context, taken, record)
    if record.skipped:
        path = join(context.spec.source_path, taken.name)
        context.emit(catalogue.DESTINATION_KEPT, {**facts, "path": path, "destination": facts["path"]})
    else:
        context.emit(catalogue.FILE_DELIVERED, facts)
        _tell_renamed(context, taken, record)
        tell_diverted(context, taken, record)
    await context.journal.forget(taken.delivery)


def _tell_renamed(context: RunContext, taken: Taken, record: Record) -> None:
    """Tell that the file got a time into its name because its name was taken."""
    wanted = unstamped(record.final_name)
    if context.spec.overwrite_rule == "timestamp-to-new-file" and wanted != record.final_name:
        names = {"destination": context.at_destination(wanted), "renamed": context.at_destination(record.final_name)}
        fields = {"transfer": context.transfer, "delivery": taken.delivery, **names}
        context.emit(catalogue.DESTINATION_RENAMED, fields)


async def _claim(context: RunContext, taken: Taken, record: Record) -> Record:
    """Journal an own temp name beside the old ones *before* the partner is touched, so the next successor knows it."""
    mine = context.new_temp(taken.delivery)
    claimed = msgspec.structs.replace(record, names=(*record.names, mine), node=context.node)
    await context.journal.put(taken.delivery, claimed)
    return claimed


async def _is_taken(context: RunContext, taken: Taken, record: Record) -> bool:
    """Say whether the taken source is still there. It is removed only after `done`, so its absence is a proof.

    A record can outlive its delivery: a transaction that created it may arrive late, after `done` was forgotten. Then
    an upload that nobody published may still lie at the partner, and must not be published a second time.
    """
    if taken.is_kept:
        return True  # Its late record is refused: every write of it compares the ledger, which has moved on.
    folder = context.spec.source_path
    # If the folder itself is away, nothing is proven: this raises. Not the source folder, for that is there too where
    # it is a mount point whose storage is not mounted.
    await context.source.lstat(join(folder, TAKEN_FOLDER))
    try:
        await context.source.lstat(taken.path(folder))
    except NotFound:
        if _was_moved(context, record):
            raise await _uncertain(context, taken, record, _MOVED) from None
        return False
    return True


def _was_moved(context: RunContext, record: Record) -> bool:
    """Say whether the record is about other folders than those in which this attempt looks.

    It only makes "uncertain" of what would count as published, which tests/model allows anywhere.
    """
    return record.place not in ("", context.place)


async def _take_over(context: RunContext, taken: Taken, claimed: Record) -> bool:
    """Make every temp name of earlier attempts useless. Returns whether the own one is to be published now.

    The old names are tried oldest first, because an attempt that was stopped moves a file only from older to newer.
    """
    *olds, mine = claimed.names
    for old in olds:
        context.permit.check()
        try:
            await context.destination.rename(context.at_destination(old), context.at_destination(mine))
        except NotFound:
            await _confirm_gone(context, old)
            continue
        except Unavailable:
            raise  # Perhaps it was done.
        except MftError:
            await _give_name_back(context, taken, claimed)
            raise
        return True
    if await _exists(context, mine):
        return True  # One of the renames was made although its answer said otherwise.
    if _was_moved(context, claimed):
        raise await _uncertain(context, taken, claimed, _MOVED)
    if context.proves_publication:
        return False
    raise await _uncertain(context, taken, claimed, _UNCERTAIN)


async def _shortened(context: RunContext, taken: Taken, record: Record) -> Record:
    """Drop the old names of a long record, now that the upload stands under the own one.

    No file stands under an old name, and none ever will: each name is made once, by an upload or by a rename from an
    older name. Without this a delivery that a partner refuses for ever would outgrow the journal, a name each attempt.
    """
    if len(record.names) <= _NAMES_MAX:
        return record
    shortened = msgspec.structs.replace(record, names=record.names[-1:])
    await context.journal.put(taken.delivery, shortened)
    return shortened


async def _give_name_back(context: RunContext, taken: Taken, claimed: Record) -> None:
    """Take the own name out of a long record again: the partner refused to rename to it, and nothing stands there."""
    *olds, mine = claimed.names
    if len(olds) >= _NAMES_MAX and not await _exists(context, mine):
        await context.journal.put(taken.delivery, msgspec.structs.replace(claimed, names=tuple(olds)))


async def _uncertain(context: RunContext, taken: Taken, record: Record, reason: str) -> MftError:
    """Journal that it cannot be known whether this delivery was published. Returns the error to raise."""
    uncertain = msgspec.structs.replace(record, state="uncertain", reason=reason)
    await context.journal.put(taken.delivery, uncertain)
    context.emit(catalogue.DELIVERY_UNCERTAIN, {**facts_of(context, taken, uncertain), "reason": reason})
    return MftError(f"{taken.name}: {reason}")


async def _exists(context: RunContext, name: str) -> bool:
    """Say whether the partner has a file of this name; its folder must be there to say so."""
    await context.destination.lstat(context.spec.destination_path or ".")
    try:
        await context.destination.lstat(context.at_destination(name))
    except NotFound:
        return False
    return True


async def _confirm_gone(context: RunContext, name: str) -> None:
    """Return only if the temp file is certainly gone: its folder can be seen, and it is not in it.

    Raises:
        Unavailable: it is there after all; the attempt ends and is made again.
    """
    if await _exists(context, name):
        raise Unavailable(f"{name} could not be renamed, yet it is there: tried again")


async def remove_temp(context: RunContext, name: str) -> None:
    """Remove a temp file of this attempt, if it was made at all."""
    context.permit.check()
    try:
        await context.destination.remove(context.at_destination(name))
    except MftError:
        pass  # What stays is swept at the next term.


def facts_of(context: RunContext, taken: Taken, record: Record) -> dict[str, Any]:
    """Give what events tell of a delivery."""
    return {
        "transfer": context.transfer,
        "delivery": taken.delivery,
        "source": join(context.spec.source_path, taken.name),
        "path": context.at_destination(record.final_name),
        "size_bytes": record.size_bytes,
        "sha256": record.sha256,
        "location": context.spec.destination_location,
        "version": context.version,
        "attempt": f"{context.term.create_revision}.{context.run}",
    }
