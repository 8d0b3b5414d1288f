"""The sources of a transfer: which are ready, how one is taken, and what was taken and is not yet delivered.

A source is taken by a rename to `.mft/<delivery>/<path>` below the transfer's source folder; `<path>` is the one that
it had there, so it is known even where nothing else was written. From then on only that is read and removed, so a
producer may reuse the name at once and a leader that wakes up late removes nothing new.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
from functools import lru_cache
from typing import NamedTuple

from mft.errors import Invalid, MftError, NotFound
from mft.model.delivery import TAKEN_FOLDER, Kept
from mft.transfers.remotes.base import Entry, Remote, join, parents
from mft.transfers.selection import walk

_CLOCKS_DIFFER_S_MAX = 60.0
"""How much the clocks of storage and node may differ. A file that is older than the stable interval and this needs no
second look; a younger one is watched."""
_WATCHED_FILES_MAX = 100_000
"""Young files watched at one time; more wait for the next pass, so that a huge folder needs no huge memory."""


class Taken(NamedTuple):
    """A source that belongs to one delivery."""

    delivery: str
    name: str
    """Path under the transfer's source folder."""
    seen: Entry | None = None
    """As it was listed; what is read must be just that. None: only a record of it was found."""
    is_kept: bool = False
    """It stays where it is, instead of being taken."""

    @classmethod
    def of(cls, delivery: str, entry: Entry, *, is_kept: bool = False) -> Taken:
        """Make one from what the walk found: `entry.name` is its path under the folder."""
        seen = entry._replace(name=entry.name.rpartition("/")[2]) if "/" in entry.name else entry
        return cls(delivery, entry.name, seen, is_kept)

    def path(self, folder: str) -> str:
        """Where it stands, given the transfer's source folder."""
        return join(folder, self.name) if self.is_kept else join(folder, TAKEN_FOLDER, self.delivery, self.name)


@lru_cache(maxsize=1024)
def delivery_prefix(transfer: str) -> str:
    """Name what all delivery ids of a transfer begin with, so that transfers may share a folder."""
    return hashlib.sha256(transfer.encode()).hexdigest()[:8] + "-"


def new_delivery(transfer: str, now: float) -> str:
    """Make a delivery id. Never used twice: the time orders it, the random part makes it unique among nodes."""
    return new_deliveries(transfer, now, 1)[0]


def new_deliveries(transfer: str, now: float, count: int) -> list[str]:
    """Make so many. The system is asked for randomness once: that lets other threads in each time."""
    start, noise, size = f"{delivery_prefix(transfer)}{int(now * 1000):012x}", secrets.token_hex(5 * count), 10
    return [start + noise[at : at + size] for at in range(0, size * count, size)]


class DeliveryIds:
    """Makes delivery ids that may have their time in common.

    They count on from a random number: of very many random ones two could be the same.
    """

    def __init__(self, transfer: str) -> None:
        self._prefix = delivery_prefix(transfer)
        self._number = secrets.randbits(40)

    def next(self, at: float) -> str:
        """Make one, as `new_delivery` does."""
        self._number = (self._number + 1) % 2**40
        return f"{self._prefix}{int(at * 1000):012x}{self._number:010x}"


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
        place = join(folder, TAKEN_FOLDER, delivery)
        try:
            entries = [entry async for entry in walk(source, place, _ignore, recursive=True)]
        except NotFound:
            continue  # Removed since by another leader, on its way out.
        files = [entry for entry in entries if entry.is_file]
        found += [Taken.of(delivery, entry) for entry in files]
        if not files:
            for path in [entry.name + "/" for entry in entries if entry.is_folder] or [""]:
                await _remove_place(source, place, path)
    return sorted(found, key=lambda taken: (taken.seen.mtime if taken.seen else 0.0, taken.delivery))


async def take(source: Remote, folder: str, entry: Entry, delivery: str) -> Taken | None:
    """Take one source for a new delivery; None if it has vanished. `entry.name` is its path under the folder.

    Raises:
        Invalid: it is on another file system than the source folder, as a mount below it is.
    """
    taken = Taken.of(delivery, entry)
    place = join(folder, TAKEN_FOLDER, delivery)
    try:
        await source.make_folder(place)
    except NotFound:
        await source.make_folder(join(folder, TAKEN_FOLDER))
        await source.make_folder(place)
    try:
        for parent in parents(entry.name):
            await source.make_folder(join(place, parent))
        await source.rename(join(folder, entry.name), taken.path(folder))
    except NotFound:
        await _remove_place(source, place, entry.name)
        return None
    except MftError as error:
        await _remove_place(source, place, entry.name)
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EXDEV:
            message = f"{entry.name} is on another file system than the source folder: give it a transfer of its own"
            raise Invalid(message) from error
        raise
    return taken


async def remove_taken(source: Remote, folder: str, taken: Taken) -> None:
    """Remove a delivered source and its folder. Either may be gone: this is also how a crash in between is mended."""
    try:
        await source.remove(taken.path(folder))
    except NotFound:
        pass
    await _remove_place(source, join(folder, TAKEN_FOLDER, taken.delivery), taken.name)


async def _remove_place(source: Remote, place: str, path: str) -> None:
    """Remove a delivery's folder and those in it that lead to `path`, as far as they are empty."""
    for parent in reversed(parents(path)):
        await _remove_folder(source, join(place, parent))
    await _remove_folder(source, place)


async def _remove_folder(source: Remote, path: str) -> None:
    try:
        await source.remove_folder(path)
    except NotFound:
        pass  # Another leader, on its way out, found it empty too.


def _ignore(path: str, reason: str) -> None:
    """What cannot be listed in `.mft/` is met again at the next pass."""
