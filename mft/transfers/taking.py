"""The sources of a transfer: which are ready, how one is taken, and what was taken and is not yet delivered.

A source is taken by a rename to `.mft/<delivery>/<name>` in its own folder. From then on only that path is read and
removed, so a producer may reuse the name at once and a leader that wakes up late removes nothing new.
"""

from __future__ import annotations

import fnmatch
import hashlib
import secrets
from typing import NamedTuple

from mft.errors import NotFound
from mft.model.delivery import TAKEN_FOLDER, Kept
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
    seen: Entry | None = None
    """As it was listed; what is read must be just that. None: only a record of it was found."""
    is_kept: bool = False
    """It stays where it is, instead of being taken."""

    def path(self, folder: str) -> str:
        """Where it stands, given the transfer's source folder."""
        return join(folder, self.name) if self.is_kept else join(folder, TAKEN_FOLDER, self.delivery, self.name)


def delivery_prefix(transfer: str) -> str:
    """Name what all delivery ids of a transfer begin with, so that transfers may share a folder."""
    return hashlib.sha256(transfer.encode()).hexdigest()[:8] + "-"


def new_delivery(transfer: str, now: float) -> str:
    """Make a delivery id. Never used twice: the time orders it, the random part makes it unique among nodes."""
    return f"{delivery_prefix(transfer)}{int(now * 1000):012x}{secrets.token_hex(5)}"


class Stability:
    """Which files have not changed for the stable interval, as far as this worker has watched them.

    Shape: path → (size in bytes, mtime, when it was first seen like this). One for each transfer; it outlives a pass.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float, float]] = {}
        self._seen_now: dict[str, tuple[int, float, float]] = {}

    def begin(self) -> None:
        """Begin a pass: what it does not meet is forgotten at the next."""
        self._seen, self._seen_now = self._seen_now, {}

    def is_stable(self, path: str, entry: Entry, interval_s: float, now: float) -> bool:
        """Say whether the file at `path` may be sent; `now` is in seconds since 1970."""
        if interval_s == 0 or now - entry.mtime > interval_s + _CLOCKS_DIFFER_S_MAX:
            return True
        size_bytes, mtime, since = self._seen.get(path, (-1, 0.0, now))
        if (size_bytes, mtime) != (entry.size_bytes, entry.mtime):
            since = now
        if now - since >= interval_s:
            return True
        if len(self._seen_now) < _WATCHED_FILES_MAX:
            self._seen_now[path] = (entry.size_bytes, entry.mtime, since)
        return False


def is_wanted(entry: Entry, spec: TransferSpec) -> bool:
    """Say whether the transfer's filter wants this entry; hidden files and all that is no plain file never."""
    return entry.is_file and not entry.name.startswith(".") and fnmatch.fnmatchcase(entry.name, spec.source_filter)


def identity(entry: Entry) -> Kept:
    """Say what the ledger compares of a kept source."""
    return Kept(entry.size_bytes, entry.mtime, entry.inode)


async def find_taken(source: Remote, transfer: str, folder: str) -> list[Taken]:
    """List what stands in `.mft/` for this transfer, with a record or, after a crash, without; the oldest first.

    Oldest by its content's time, not by its delivery's id: whoever took it may have made the id long before.
    An empty folder is what a crash between the removal of a source and of its folder leaves: it goes.
    """
    prefix = delivery_prefix(transfer)
    try:
        deliveries = [entry.name async for entry in source.scan(join(folder, TAKEN_FOLDER))]
    except NotFound:
        return []
    found: list[Taken] = []
    for delivery in deliveries:
        if not delivery.startswith(prefix):
            continue
        path = join(folder, TAKEN_FOLDER, delivery)
        entries = [entry async for entry in source.scan(path) if entry.is_file]
        if not entries:
            await _remove_folder(source, path)
        found += [Taken(delivery, entry.name, entry) for entry in entries]
    return sorted(found, key=lambda taken: (taken.seen.mtime if taken.seen else 0.0, taken.delivery))


async def take(source: Remote, folder: str, entry: Entry, delivery: str) -> Taken | None:
    """Take one source for a new delivery; None if it has vanished."""
    taken = Taken(delivery, entry.name, entry)
    place = join(folder, TAKEN_FOLDER, delivery)
    try:
        await source.make_folder(place)
    except NotFound:
        await source.make_folder(join(folder, TAKEN_FOLDER))
        await source.make_folder(place)
    try:
        await source.rename(join(folder, entry.name), taken.path(folder))
    except NotFound:
        await _remove_folder(source, place)
        return None
    return taken


async def remove_taken(source: Remote, folder: str, taken: Taken) -> None:
    """Remove a delivered source and its folder. Either may be gone: this is also how a crash in between is mended."""
    try:
        await source.remove(taken.path(folder))
    except NotFound:
        pass
    await _remove_folder(source, join(folder, TAKEN_FOLDER, taken.delivery))


async def _remove_folder(source: Remote, path: str) -> None:
    try:
        await source.remove_folder(path)
    except NotFound:
        pass  # Another leader, on its way out, found it empty too.
