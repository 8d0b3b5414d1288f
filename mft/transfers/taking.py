"""The sources of a transfer: which are ready, how one is taken, and what was taken and is not yet delivered.

A source is taken by a rename to `.mft/<delivery>/<name>` in its own folder. From then on only that path is read and
removed, so a producer may reuse the name at once and a leader that wakes up late removes nothing new.
"""

from __future__ import annotations

import fnmatch
import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import NamedTuple

from mft.errors import NotFound
from mft.model.delivery import TAKEN_FOLDER
from mft.model.transfers import TransferSpec
from mft.transfers.remotes.base import Entry, Remote, join

_CLOCKS_DIFFER_S_MAX = 60.0
"""How much the clocks of storage and node may differ. A file that is older than the stable interval and this needs no
second look; a younger one is watched."""
_WATCHED_FILES_MAX = 100_000
"""Young files watched at one time; more wait for the next pass, so that a huge folder needs no huge memory."""


class Taken(NamedTuple):
    """A source that belongs to one delivery."""

    delivery: str
    name: str

    def path(self, folder: str) -> str:
        """Where it stands, given the transfer's source folder."""
        return join(folder, TAKEN_FOLDER, self.delivery, self.name)


def delivery_prefix(transfer: str) -> str:
    """Name what all delivery ids of a transfer begin with, so that transfers may share a folder."""
    return hashlib.sha256(transfer.encode()).hexdigest()[:8] + "-"


def new_delivery(transfer: str, now: float) -> str:
    """Make a delivery id. Never used twice: the time orders it, the random part makes it unique among nodes."""
    return f"{delivery_prefix(transfer)}{int(now * 1000):012x}{secrets.token_hex(5)}"


class Stability:
    """Which files have not changed for the stable interval, as far as this worker has watched them.

    Shape: name → (size in bytes, mtime, when it was first seen like this). One for each transfer; it outlives a pass.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float, float]] = {}
        self._seen_now: dict[str, tuple[int, float, float]] = {}

    def begin(self) -> None:
        """Begin a pass: what it does not meet is forgotten at the next."""
        self._seen, self._seen_now = self._seen_now, {}

    def is_stable(self, entry: Entry, interval_s: float, now: float) -> bool:
        """Say whether the file may be taken; `now` is in seconds since 1970."""
        if interval_s == 0 or now - entry.mtime > interval_s + _CLOCKS_DIFFER_S_MAX:
            return True
        size_bytes, mtime, since = self._seen.get(entry.name, (-1, 0.0, now))
        if (size_bytes, mtime) != (entry.size_bytes, entry.mtime):
            since = now
        if now - since >= interval_s:
            return True
        if len(self._seen_now) < _WATCHED_FILES_MAX:
            self._seen_now[entry.name] = (entry.size_bytes, entry.mtime, since)
        return False


def is_wanted(entry: Entry, spec: TransferSpec) -> bool:
    """Say whether the transfer's filter wants this entry; hidden files and all that is no plain file never."""
    return entry.is_file and not entry.name.startswith(".") and fnmatch.fnmatchcase(entry.name, spec.source_filter)


async def find_taken(source: Remote, transfer: str, folder: str) -> AsyncIterator[Taken]:
    """Yield what stands in `.mft/` for this transfer: with a record or, after a crash, without.

    An empty folder is what a crash between the removal of a source and of its folder leaves: it goes.
    """
    prefix = delivery_prefix(transfer)
    try:
        deliveries = [entry.name async for entry in source.scan(join(folder, TAKEN_FOLDER))]
    except NotFound:
        return
    for delivery in sorted(name for name in deliveries if name.startswith(prefix)):
        path = join(folder, TAKEN_FOLDER, delivery)
        names = [entry.name async for entry in source.scan(path) if entry.is_file]
        if not names:
            await source.remove_folder(path)
        for name in names:
            yield Taken(delivery, name)


async def take(source: Remote, folder: str, name: str, delivery: str) -> Taken | None:
    """Take one source for a new delivery; None if it has vanished."""
    taken = Taken(delivery, name)
    place = join(folder, TAKEN_FOLDER, delivery)
    try:
        await source.make_folder(place)
    except NotFound:
        await source.make_folder(join(folder, TAKEN_FOLDER))
        await source.make_folder(place)
    try:
        await source.rename(join(folder, name), taken.path(folder))
    except NotFound:
        await source.remove_folder(place)
        return None
    return taken


async def remove_taken(source: Remote, folder: str, taken: Taken) -> None:
    """Remove a delivered source and its folder. Either may be gone: this is also how a crash in between is mended."""
    try:
        await source.remove(taken.path(folder))
    except NotFound:
        pass
    try:
        await source.remove_folder(join(folder, TAKEN_FOLDER, taken.delivery))
    except NotFound:
        pass
