"""One file, exactly once: upload under a temp name, `intent`, rename, `done`, remove the source, forget.

The order is the one that tests/model checks exhaustively. What each step relies on:

- every journal write is fenced by the term and by the record's mod revision, so a leader that lost its term is refused;
- the partner cannot be fenced, so a successor first makes the old temp names useless: it journals its own name beside
  them, then renames each old one, oldest first, to its own. Of two renames of one source at most one succeeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec

from mft.errors import Conflict, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.delivery import Record
from mft.transfers.context import Journal, Permit, RunContext
from mft.transfers.taking import Taken, identity, remove_taken

__all__ = ["Journal", "Permit", "Prepared", "RunContext", "deliver", "prepare", "publish"]

_VANISHED = "its temp file vanished before it got its final name: the partner removes temp files, or repeated a request"
_UNCERTAIN = "its temp file is gone, which proves nothing at a partner that removes temp files or renames in two steps"

_NAMES_MAX = 8
"""Temp names in a record before it is shortened. Only a delivery that fails again and again gets there."""


class Prepared(NamedTuple):
    """A delivery whose content stands at the destination, for certain."""

    record: Record
    is_published: bool
    """It has its final name already. Else it stands under the record's newest temp name."""


async def deliver(context: RunContext, taken: Taken, record: Record | None) -> None:
    """Bring one taken source to its destination, from whatever state an earlier attempt left it in.

    Raises:
        LeadershipLost: nothing more may be done in this term.
        MftError: it did not succeed now; state and record are such that the next attempt goes on from here.
    """
    await publish(context, taken, await prepare(context, taken, record))


async def prepare(context: RunContext, taken: Taken, record: Record | None) -> Prepared:
    """Do all but the last rename: upload and journal the intent, or take over what another attempt left.

    Files of a batch wait here for each other. That is only a pause between two steps, of which the protocol bears any
    length: whoever takes over meanwhile makes the temp name useless, and the rename finds nothing. Raises as `deliver`.
    """
    if record is not None and record.state == "uncertain":
        # The policy is to send again: held ones are not even tried.
        await context.journal.forget(taken.delivery)
        record = None
    if record is None:
        return Prepared(await _upload(context, taken), is_published=False)
    if record.state == "done":
        return Prepared(record, is_published=True)
    record = await _claim(context, taken, record)
    if await _is_taken(context, taken) and await _take_over(context, taken, record):
        return Prepared(await _shortened(context, taken, record), is_published=False)
    return Prepared(record, is_published=True)


async def publish(context: RunContext, taken: Taken, prepared: Prepared) -> None:
    """Give a prepared delivery its final name, and finish it. Raises as `deliver`."""
    record = prepared.record
    if not prepared.is_published:
        await _publish(context, taken, record)
    if record.state != "done":
        record = msgspec.structs.replace(record, state="done", names=())
        await context.journal.put(taken.delivery, record)
    context.permit.check()
    if not taken.is_kept:
        await remove_taken(context.source, context.spec.source_path, taken)
    context.emit(catalogue.FILE_DELIVERED, _facts(context, taken, record))
    await context.journal.forget(taken.delivery)


async def _upload(context: RunContext, taken: Taken) -> Record:
    """Upload under a new temp name, check what arrived, and journal the intent to publish it."""
    temp = context.new_temp(taken.delivery)
    path = context.at_destination(temp)
    digest = hashlib.sha256()
    source_path = taken.path(context.spec.source_path)
    before = await context.source.lstat(source_path)
    if taken.seen is not None and before != taken.seen:
        raise Conflict(f"{taken.name} has changed since it was listed; it is sent when it is stable")
    context.permit.check()
    try:
        async with context.source.read(source_path) as pieces:
            size_bytes = await context.destination.write(path, _hashed(pieces, digest, context.permit))
        after = await context.source.lstat(source_path)
        if after != before or size_bytes != before.size_bytes:
            raise Conflict(f"{taken.name} changed while it was read; it is sent again when it is stable")
        arrived = await context.destination.lstat(path)
        if arrived.size_bytes != size_bytes:
            raise MftError(f"{taken.name}: sent {size_bytes} bytes, but {arrived.size_bytes} arrived")
        record = Record(
            state="intent",
            name=taken.name,
            names=(temp,),
            size_bytes=size_bytes,
            sha256=digest.hexdigest(),
            node=context.node,
            kept=identity(before) if taken.is_kept else None,
        )
    except Unavailable:
        raise  # Nothing can be cleaned up over a lost connection; the next term's sweep removes it.
    except MftError:
        await _remove_temp(context, path)
        raise
    await context.journal.put(taken.delivery, record)
    return record


async def _publish(context: RunContext, taken: Taken, record: Record) -> None:
    """Give the newest temp file its final name.

    That it is not there is no answer to trust: no other attempt knows this name, so either the partner has removed it,
    or the rename was made and the answer is that to a repeated request (NFS). Both are possible: it is uncertain.
    """
    context.permit.check()
    temp = context.at_destination(record.names[-1])
    try:
        await context.destination.rename(temp, context.at_destination(taken.name))
    except NotFound as error:
        await _confirm_gone(context, record.names[-1])
        raise await _uncertain(context, taken, record, _VANISHED) from error


async def _claim(context: RunContext, taken: Taken, record: Record) -> Record:
    """Journal an own temp name beside the old ones *before* the partner is touched, so the next successor knows it."""
    mine = context.new_temp(taken.delivery)
    claimed = msgspec.structs.replace(record, names=(*record.names, mine), node=context.node)
    await context.journal.put(taken.delivery, claimed)
    return claimed


async def _is_taken(context: RunContext, taken: Taken) -> bool:
    """Say whether the taken source is still there. It is removed only after `done`, so its absence is a proof.

    A record can outlive its delivery: a transaction that created it may arrive late, after `done` was forgotten. Then
    an upload that nobody published may still lie at the partner, and must not be published a second time.
    """
    if taken.is_kept:
        return True  # Its late record is refused: every write of it compares the ledger, which has moved on.
    folder = context.spec.source_path
    await context.source.lstat(folder)  # If the folder itself is away, nothing is proven: this raises.
    try:
        await context.source.lstat(taken.path(folder))
    except NotFound:
        return False
    return True


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
    context.emit(catalogue.DELIVERY_UNCERTAIN, {**_facts(context, taken, uncertain), "reason": reason})
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


async def _hashed(pieces: AsyncIterator[bytes], digest: Any, permit: Permit) -> AsyncIterator[bytes]:
    """Pass the content on, hashing it, as long as the term lasts."""
    async for piece in pieces:
        permit.check()
        digest.update(piece)
        yield piece


async def _remove_temp(context: RunContext, path: str) -> None:
    try:
        await context.destination.remove(path)
    except MftError:
        pass  # It was perhaps never made. What stays is swept at the next term.


def _facts(context: RunContext, taken: Taken, record: Record) -> dict[str, Any]:
    return {
        "transfer": context.transfer,
        "delivery": taken.delivery,
        "path": context.at_destination(taken.name),
        "size_bytes": record.size_bytes,
        "sha256": record.sha256,
        "location": context.spec.destination_location,
    }
