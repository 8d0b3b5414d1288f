"""What is done where the destination has a file of that name already: the overwrite rules.

A rule looks before the upload, so that nothing is sent in vain, before `intent`, and right before the rename. Whenever
it looks, the own upload is not yet published: either there is none, or it was just seen under its temp name. So what
stands under the final name is never the own file, and a delivery that was published by an earlier attempt is recognised
(its temp file is gone) before any rule has a say. Between the last look and the rename somebody else may put a file
there: no partner offers more. The manual names that window.
"""

from __future__ import annotations

from typing import NamedTuple

from mft.errors import Conflict, NotFound
from mft.events import catalogue
from mft.model.delivery import taken_at
from mft.model.transfer_parts import OverwriteRule
from mft.transfers.context import RunContext
from mft.transfers.naming import stamped
from mft.transfers.remotes.base import Entry, shown

NO_LOOK: frozenset[OverwriteRule] = frozenset({"overwrite", "disable"})


class Verdict(NamedTuple):
    """Where a file goes, if it goes at all."""

    target: str
    """Path under the destination folder."""
    is_skipped: bool = False
    """It counts as delivered, because another stands there."""


async def judge(context: RunContext, delivery: str, wanted: str, target: str) -> Verdict:
    """Look at the destination and say where the file goes. `wanted` is its name without a time, `target` as settled.

    Raises:
        Conflict: another file stands there, and the rule is `fail`.
    """
    rule = context.spec.overwrite_rule
    if rule in NO_LOOK:
        return Verdict(target)
    if rule == "timestamp-always" and target == wanted:
        target = stamped(wanted, taken_at(delivery))
    if rule == "timestamp-to-existing-file" or await _standing(context, target) is None:
        return Verdict(target)
    if rule == "fail":
        message = (
            f"{shown(context.at_destination(target))} exists at the destination, and nothing may be replaced there"
        )
        raise Conflict(f"{message} (overwrite_rule)")
    if rule == "skip":
        return Verdict(target, is_skipped=True)
    return Verdict(await _free_name(context, delivery, wanted))


async def make_way(context: RunContext, delivery: str, target: str) -> None:
    """Right before the rename: put what stands under the final name aside, where the rule is to rename it.

    Raises:
        Conflict: what stands there is no file.
    """
    if context.spec.overwrite_rule != "timestamp-to-existing-file":
        return
    there = await _standing(context, target)
    if there is None:
        return
    path = context.at_destination(target)
    if there.is_folder:
        raise Conflict(f"{shown(path)} is a folder at the destination")
    renamed = context.at_destination(await _free_name(context, delivery, target))
    context.permit.check()
    try:
        await context.destination.rename(path, renamed)
    except NotFound:
        return  # Whoever consumes there was faster.
    context.emit(
        catalogue.DESTINATION_RENAMED,
        {"transfer": context.transfer, "delivery": delivery, "destination": path, "renamed": renamed},
    )


async def _free_name(context: RunContext, delivery: str, path: str) -> str:
    """Put the time into a name; if another has that one too, also something of the delivery's id."""
    new = stamped(path, taken_at(delivery))
    if await _standing(context, new) is not None:
        new = stamped(path, taken_at(delivery), delivery[-6:])
    return new


async def _standing(context: RunContext, target: str) -> Entry | None:
    try:
        return await context.destination.lstat(context.at_destination(target))
    except NotFound:
        return None
