"""What makes a batch: which files belong to it, and whether it is complete. Pure: the clock is an argument."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from mft.model.transfers import TransferSpec
from mft.transfers.remotes.base import Entry
from mft.transfers.selection import is_marker


class Quiet:
    """Since when nothing has come or changed, as far as this worker has watched. One for each transfer."""

    def __init__(self) -> None:
        self._seen = 0
        self._since: float | None = None

    def for_s(self, fingerprint: int, now: float) -> float:
        """Say for how many seconds what is there has been just this; `now` is on any clock that does not jump."""
        if self._since is None or fingerprint != self._seen:
            self._seen, self._since = fingerprint, now
        return now - self._since


class Batch(NamedTuple):
    """The files to take for a batch, in the order in which to take them: the markers last."""

    entries: tuple[Entry, ...]
    wait_s: float = 0.0
    """Not complete, and why: it may be after so many seconds."""
    reason: str = ""


class Gathering:
    """Collects the sources that make the next batch, in bounded memory however many there are."""

    def __init__(self, spec: TransferSpec, *, taken: int = 0, has_marker: bool = False) -> None:
        """Begin; `taken` files of the batch are taken already, and among them perhaps the marker."""
        assert spec.batch is not None
        self._spec = spec
        self._batch = spec.batch
        self._taken = taken
        self._has_marker = has_marker
        self._room = max(0, spec.batch.files_max - taken)
        self._oldest: list[tuple[float, int, Entry]] = []
        self._markers: list[Entry] = []
        self._count = 0
        self._unstable = 0
        self._fingerprint = hash(taken)

    def add(self, entry: Entry, *, is_stable: bool) -> None:
        """Take note of one source that is there."""
        self._fingerprint = (self._fingerprint + hash((entry.name, entry.size_bytes, entry.mtime))) % 2**64
        self._unstable += not is_stable
        if is_marker(entry.name, self._spec):
            self._markers.append(entry)
            return
        self._count += 1
        # A heap whose first is the newest, so that the oldest `room` stay.
        heapq.heappush(self._oldest, (-entry.mtime, -self._count, entry))
        if len(self._oldest) > self._room:
            heapq.heappop(self._oldest)

    def result(self, quiet: Quiet, now: float) -> Batch:
        """Say what makes the batch, or why there is none yet."""
        quiet_s = quiet.for_s(self._fingerprint, now)
        if not self._count and not self._markers and not self._taken:
            return Batch(())
        if self._unstable:
            return Batch((), self._spec.stable_interval_s, f"{self._unstable} files are still being written")
        if self._batch.marker and not self._markers and not self._has_marker:
            return Batch((), 0.0, "its marker is not there")
        if quiet_s < self._batch.interval_s:
            return Batch((), self._batch.interval_s - quiet_s, "files may still come")
        entries = [entry for _, _, entry in sorted(self._oldest, reverse=True)]
        is_last = self._count <= self._room
        return Batch((*entries, *(self._markers if is_last else ())))
