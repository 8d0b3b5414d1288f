"""Which files below a source folder a transfer means, and the walk that finds them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from zoneinfo import ZoneInfo

from mft.errors import Exhausted, Invalid, MftError, NotFound, Unavailable
from mft.model.dates import Moment
from mft.model.delivery import is_temp
from mft.model.expressions import compile_expression
from mft.model.transfers import TransferSpec
from mft.transfers.remotes.base import Entry, Remote, join

DEPTH_MAX = 64
"""Folders within folders that are looked into."""
_FOLDERS_PENDING_MAX = 100_000
"""Folders known and not yet looked into, so that a huge tree needs no huge memory."""

Skipped = Callable[[str, str], None]
"""Told of a folder that is not looked into: its path, and why; without a reason it vanished in the middle, which is no
news, but not all that stood in it was met."""


def is_dated(spec: TransferSpec) -> bool:
    """Say whether one of the transfer's expressions names a date."""
    texts = [spec.source_filter, *(rule.match for rule in spec.names), *(rule.match for rule in spec.conversions)]
    if spec.batch is not None and spec.batch.marker:
        texts.append(spec.batch.marker)
    return any(compile_expression(text).is_dated for text in texts)


def moment_of(spec: TransferSpec, at: float) -> Moment:
    """Give the moment, in seconds since 1970, by which the transfer's expressions are judged, in its time zone.

    Raises:
        Invalid: there is no such zone. It was checked when it was applied, but one instance's own values were not.
    """
    try:
        return Moment(at, ZoneInfo(spec.start.time_zone))
    except (KeyError, ValueError, OSError) as error:  # Of the library: see `zone_problem`.
        raise Invalid(f"there is no time zone {spec.start.time_zone!r}") from error


def is_wanted(entry: Entry, spec: TransferSpec, now: float, moment: Moment) -> bool:
    """Say whether the transfer means this file; `entry.name` is its path under the source folder, `now` since 1970.

    Hidden ones are never meant, nor what is no plain file. A batch's marker is, whatever the filter says. Nor are temp
    files, which may have names that are not hidden: another transfer may deliver to where this one takes from.
    `moment` is that of dates in expressions; a file's age is counted to `now`.
    """
    name = entry.name.rpartition("/")[2]
    if not entry.is_file or name.startswith(".") or is_temp(name):
        return False
    if not (compile_expression(spec.source_filter).matches(entry.name, moment) or is_marker(entry.name, spec, moment)):
        return False
    age_s = now - entry.mtime
    if spec.source_age_min_s and age_s < spec.source_age_min_s:
        return False
    return not (spec.source_age_max_s and age_s > spec.source_age_max_s)


def is_marker(path: str, spec: TransferSpec, moment: Moment) -> bool:
    """Say whether this file says that its batch is complete."""
    marker = spec.batch.marker if spec.batch is not None else ""
    return bool(marker) and compile_expression(marker).matches(path, moment)


async def walk(source: Remote, folder: str, skipped: Skipped, *, recursive: bool) -> AsyncGenerator[Entry, None]:
    """Yield what stands below the folder, by path under it; a folder only if it is empty.

    One folder is listed at a time: a connection has few channels. Hidden folders are not looked into, `.mft` is one. A
    folder that vanishes meanwhile is no news; one that cannot be listed is skipped, except the source folder itself.
    """
    pending: list[Entry] = []
    path, itself = "", None
    while True:
        is_empty = True
        try:
            async for entry in source.scan(join(folder, path) if folder or path else "."):
                is_empty = False
                found = entry._replace(name=join(path, entry.name)) if path else entry
                if not found.is_folder:
                    yield found
                elif recursive and not entry.name.startswith("."):
                    if found.name.count("/") >= DEPTH_MAX or len(pending) >= _FOLDERS_PENDING_MAX:
                        skipped(found.name, f"more than {DEPTH_MAX} levels or {_FOLDERS_PENDING_MAX} folders")
                    else:
                        pending.append(found)
        except MftError as error:
            if not path or isinstance(error, Unavailable | Exhausted):
                raise
            if not isinstance(error, NotFound):
                skipped(path, str(error))
            elif not is_empty:
                skipped(path, "")
            is_empty = False
        if is_empty and itself is not None:
            yield itself
        if not pending:
            return
        itself = pending.pop()
        path = itself.name
