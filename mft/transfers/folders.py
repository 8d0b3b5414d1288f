"""Folders that a path needs: made where they are missing, known once they were seen.

With `destination_fallback_path` they are not made but looked for, and a file whose folder is missing goes below the
fallback folder instead, with its whole path, so that two files which would not have met elsewhere do not meet there.
That folder is below the destination folder: its paths are like any other, and the last rename stays within one file
system as far as it ever does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from mft.errors import Invalid, NotFound
from mft.events import catalogue
from mft.model.delivery import Record
from mft.transfers.context import RunContext
from mft.transfers.naming import target_of, unstamped
from mft.transfers.remotes.base import Entry, Remote, join, parents
from mft.transfers.taking import Taken

_KNOWN_MAX = 10_000
"""Folders remembered in one run."""


async def place(context: RunContext, wanted: str, *, anew: bool = False) -> str:
    """Have the folders of a path under the destination folder, as `make_folders` does. Returns the path that has them.

    That is `wanted`, or one below the fallback folder. Once it stands in an `intent` it is changed only to that, and
    only where the last rename was refused for want of the folder.
    """
    folder, fallback = _folder(wanted), context.spec.destination_fallback_path
    if not fallback or not folder or _is_below(fallback, wanted):
        await make_folders(context, wanted, anew=anew)
        return wanted
    _forget_some(context, anew=anew)
    if folder in context.folders or await _is_there(context, folder):
        context.folders.add(folder)
        return wanted
    diverted = join(fallback, wanted)
    await make_folders(context, diverted)
    return diverted


def wanted_of(context: RunContext, taken: Taken, target: str) -> str:
    """Give the path, without a time, that the rules make of a file's name.

    What is settled below the fallback folder stays there, whatever the rules say by now: so no two deliveries can each
    wait for the other's name.

    Raises:
        Invalid: the rules make a path that cannot be used.
    """
    fallback = context.spec.destination_fallback_path
    if fallback and _is_below(fallback, target):
        return unstamped(target)
    return target_of(context.spec.names, taken.name, context.moment_of(taken.delivery))


def tell_diverted(context: RunContext, taken: Taken, record: Record) -> None:
    """Tell of a file that came below the fallback folder, because its own was missing."""
    fallback = context.spec.destination_fallback_path
    try:
        wanted = target_of(context.spec.names, taken.name, context.moment_of(taken.delivery))
    except Invalid:  # Other rules than those of its own time.
        return
    if not fallback or not _folder(wanted) or _folder(record.final_name) != join(fallback, _folder(wanted)):
        return
    context.emit(
        catalogue.DESTINATION_FOLDER_MISSING,
        {
            "transfer": context.transfer,
            "delivery": taken.delivery,
            "path": join(context.spec.source_path, taken.name),
            "folder": context.at_destination(_folder(wanted)),
            "destination": context.at_destination(record.final_name),
        },
    )


async def make_folders(context: RunContext, target: str, *, anew: bool = False) -> None:
    """Make the folders of a path under the destination folder. The destination folder itself must be there.

    That one is never made: where storage is not mounted, files would go to the mount point. Where there is a fallback
    folder, nothing is made but below that. `anew`: forget what was seen earlier in this run.
    """
    folder, fallback = _folder(target), context.spec.destination_fallback_path
    if not folder or (fallback and not _is_below(fallback, target)):
        return
    _forget_some(context, anew=anew)
    if folder not in context.folders:
        context.permit.check()
        await make_path(context.destination, context.spec.destination_path, folder)
        context.folders.add(folder)


async def make_path(remote: Remote, root: str, folder: str) -> None:
    """Make each missing folder of the path `folder` under `root`; never removes anything."""
    path = root
    for part in folder.split("/"):
        path = join(path, part) if path or not folder.startswith("/") else f"/{part}"
        if path not in {"", "/"}:
            await remote.make_folder(path)


async def _is_there(context: RunContext, folder: str) -> bool:
    """Say whether a folder stands under the destination folder. What cannot be seen is an error, not missing."""
    for path in (*parents(folder), folder):
        if path in context.folders:
            continue
        there = context.at_destination(path)
        try:
            entry = await context.destination.lstat(there)
            if entry.is_file:
                return False
            if not entry.is_folder:
                # A link, perhaps: whether it leads to a folder no server says more surely than by listing it.
                async with aclosing(cast(AsyncGenerator[Entry, None], context.destination.scan(there))) as entries:
                    await anext(entries, None)
        except NotFound:
            return False
        context.folders.add(path)
    return True


def _is_below(fallback: str, target: str) -> bool:
    return target.startswith(fallback.rstrip("/") + "/")


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _forget_some(context: RunContext, *, anew: bool) -> None:
    if anew or len(context.folders) >= _KNOWN_MAX:
        context.folders.clear()
