"""Where delivered sources are kept, and those that were given up; and how what is old goes.

A source is archived after `done` and before it is removed, so it is never lost; after a crash in between it may be
copied a second time, onto the same name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Set

from mft.errors import Conflict, Denied, Exhausted, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.delivery import is_stale_temp, taken_at
from mft.transfers.context import RunContext
from mft.transfers.folders import make_path
from mft.transfers.naming import stamp_of, stamped
from mft.transfers.remotes.base import Content, Entry, Remote, join
from mft.transfers.taking import Taken, delivery_prefix, identity, remove_taken

_PURGE_EVERY_S = 3600.0
_DEPTH_MAX = 32
"""Folders within each other that are looked into."""
_DAY_S = 86400.0


async def archive_done(context: RunContext, taken: Taken) -> None:
    """Put a delivered source into the archive, if the transfer has one.

    Raises:
        MftError: it is not archived, and must not be removed yet. The file is delivered nonetheless.
    """
    spec = context.spec.archive
    if spec is None or not spec.path:
        return
    try:
        path = await _keep(context, taken, spec.path)
    except Unavailable:
        raise
    except MftError as error:
        fields = {"transfer": context.transfer, "delivery": taken.delivery, "path": _shown(context, taken)}
        context.emit(catalogue.FILE_NOT_ARCHIVED, {**fields, "reason": str(error)})
        told = type(error)(f"{taken.name} is delivered, but cannot be archived: {error}")
        told.location = error.location
        raise told from error
    _tell(context, taken, path)


async def archive_failed(context: RunContext, taken: Taken) -> str:
    """Move a source that was given up to the folder for those. Returns its path there; empty if it stays.

    Raises:
        MftError: it could not be moved.
    """
    spec = context.spec.archive
    if spec is None or not spec.failure_path or taken.is_kept:
        return ""
    path = await _keep(context, taken, spec.failure_path)
    await remove_taken(context.source, context.spec.source_path, taken)
    _tell(context, taken, path)
    return path


async def purge_archive(context: RunContext, now: float, named: Set[str] = frozenset()) -> int:
    """Remove what has been archived for longer than it is to be kept; at most once an hour. Returns how many went.

    Only files whose name has the time that this program has put there: the folder may hold others. Not the temp files
    in `named` either: the destination may be below the archive, and what an `intent` names may not go.
    """
    spec = context.spec.archive
    if spec is None or now - context.memory.purged_at < _PURGE_EVERY_S:
        return 0
    context.memory.purged_at = now
    oldest = now - spec.retention_days * _DAY_S if spec.retention_days else 0.0
    removed = 0
    for folder in {spec.path, spec.failure_path} - {""}:
        try:
            removed += await _purge(context, folder, oldest, named)
        except NotFound:
            pass  # Nothing was archived yet.
        except Unavailable:
            raise
        except MftError as error:
            fields = {"transfer": context.transfer, "delivery": "", "path": folder, "reason": str(error)}
            context.emit(catalogue.FILE_NOT_ARCHIVED, fields)
    return removed


async def _keep(context: RunContext, taken: Taken, folder: str) -> str:
    """Move or copy a source into a folder of the archive. Returns its path there; empty if the source is gone.

    Gone means that an earlier attempt has done all this: it is removed only by those who have archived it.
    """
    assert context.spec.archive is not None
    name = taken.name
    if context.spec.archive.name == "timestamp":
        name = stamped(name, taken_at(taken.delivery), taken.delivery[-6:])
    path = join(folder, name)
    try:
        if context.archive is None and not taken.is_kept:
            await _move(context, taken, path)
        else:
            await _copy(context, taken, folder, path)
    except NotFound:
        await context.source.lstat(context.spec.source_path)  # If the folder itself is away, nothing is proven.
        if not taken.is_kept and await _is_gone(context, taken):
            return ""
        raise
    return path


async def _move(context: RunContext, taken: Taken, path: str) -> None:
    source, old = context.source, taken.path(context.spec.source_path)
    context.permit.check()
    try:
        await _replace(source, old, path)
    except NotFound:
        if await _is_gone(context, taken):
            raise
        await make_path(source, "", path.rpartition("/")[0])
        await _replace(source, old, path)
    except (Unavailable, Denied, Exhausted):
        raise
    except MftError:
        # On another file system of the same location, where a rename cannot lead.
        await _copy(context, taken, path.rpartition("/")[0], path)
        context.permit.check()
        await source.remove(old)


async def _copy(context: RunContext, taken: Taken, folder: str, path: str) -> None:
    """Copy under a temp name, compare the size, rename. What a crash leaves of it goes with the next purge."""
    remote, old = context.archive or context.source, taken.path(context.spec.source_path)
    before = await context.source.lstat(old)
    if taken.seen is not None and taken.is_kept and identity(before) != identity(taken.seen):
        raise Conflict("it has changed since it was delivered")
    temp = join(folder, context.new_temp(taken.delivery))
    await make_path(remote, "", path.rpartition("/")[0])
    try:
        async with context.source.read(old) as pieces:
            await remote.write(temp, _passed_on(context, pieces))
        arrived = await remote.lstat(temp)
        if arrived.size_bytes != before.size_bytes:
            raise MftError(f"{before.size_bytes} bytes were copied, but {arrived.size_bytes} arrived")
        context.permit.check()
        await _replace(remote, temp, path)
    except Unavailable:
        raise
    except MftError:
        await _remove_quietly(remote, temp)
        raise


async def _replace(remote: Remote, old: str, new: str) -> None:
    """Rename, replacing what stands there, also where the remote's rename does not."""
    if not remote.source_atomic:
        await _remove_quietly(remote, new)
    await remote.rename(old, new)


async def _passed_on(context: RunContext, pieces: AsyncIterator[Content]) -> AsyncIterator[Content]:
    """Pass the content on, as long as the term lasts, and keep to the pace."""
    async for piece in pieces:
        await context.throttle_archive(len(piece))
        context.permit.check()
        yield piece


async def _is_gone(context: RunContext, taken: Taken) -> bool:
    try:
        await context.source.lstat(taken.path(context.spec.source_path))
    except NotFound:
        return True
    return False


async def _purge(context: RunContext, root: str, oldest: float, named: Set[str]) -> int:
    remote = context.archive or context.source
    prefix, removed = delivery_prefix(context.transfer), 0
    folders = [(root, 0)]
    while folders:
        folder, depth = folders.pop()
        async for entry in remote.scan(folder):
            path = join(folder, entry.name)
            if entry.is_folder:
                # Nothing is archived in hidden folders, and `.mft` has what is not delivered yet.
                if depth < _DEPTH_MAX and not entry.name.startswith("."):
                    folders.append((path, depth + 1))
            elif entry.is_file and (
                _is_old(entry, oldest)
                or (entry.name not in named and is_stale_temp(entry.name, prefix, context.term, context.run))
            ):
                context.permit.check()
                try:
                    await remote.remove(path)
                except NotFound:
                    continue  # Somebody else tidies there too.
                removed += 1
    return removed


def _is_old(entry: Entry, oldest: float) -> bool:
    archived_at = stamp_of(entry.name)
    return archived_at is not None and archived_at < oldest


async def _remove_quietly(remote: Remote, path: str) -> None:
    try:
        await remote.remove(path)
    except MftError:
        pass


def _tell(context: RunContext, taken: Taken, path: str) -> None:
    if path:
        fields = {"transfer": context.transfer, "delivery": taken.delivery, "path": _shown(context, taken)}
        context.emit(catalogue.FILE_ARCHIVED, {**fields, "archive": path})


def _shown(context: RunContext, taken: Taken) -> str:
    return join(context.spec.source_path, taken.name)
