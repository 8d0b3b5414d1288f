"""What makes a batch: which files belong to it, and whether it is complete. Pure: the clock is an argument."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from mft.model.dates import Moment
from mft.model.delivery import Term
from mft.model.transfer_parts import BatchSpec
from mft.model.transfers import TransferSpec
from mft.transfers.remotes.base import Entry
from mft.transfers.selection import is_marker

_WARN_EVERY_S = 3600.0
"""How often people are told of a batch that still waits."""
_INTERVALS_MIN = 10
"""Quiet times that pass before a batch by interval is said to wait for long: files may well come in spurts."""


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


class Waiting:
    """Since when files have waited for their batch, as far as this worker has watched. One for each transfer."""

    def __init__(self) -> None:
        self._term: Term | None = None
        self._since = 0.0
        self._warned_at: float | None = None

    def for_s(self, term: Term, now: float) -> float:
        """Say for how many seconds files have waited; `now` is on any clock that does not jump.

        Of another term nothing is believed: meanwhile other leaders may have sent any number of batches.
        """
        if self._term != term:
            self._term, self._since, self._warned_at = term, now, None
        return now - self._since

    def is_due_to_warn(self, batch: BatchSpec, now: float) -> bool:
        """Say whether people are to be told now that they wait; they then count as told. Call after `for_s`."""
        if not batch.warn_after_s or now - self._since < max(batch.warn_after_s, _INTERVALS_MIN * batch.interval_s):
            return False
        if self._warned_at is not None and now - self._warned_at < _WARN_EVERY_S:
            return False
        self._warned_at = now
        return True

    def end(self) -> None:
        """Take note that a batch is on its way, or that no file waits."""
        self._term = None


class Batch(NamedTuple):
    """The files to take for a batch, in the order in which to take them: the markers last."""

    entries: tuple[Entry, ...]
    wait_s: float = 0.0
    """Not complete, and why: it may be after so many seconds."""
    reason: str = ""


class Gathering:
    """Collects the sources that make the next batch, in bounded memory however many there are."""

    def __init__(self, spec: TransferSpec, moment: Moment, *, taken: int = 0, has_marker: bool = False) -> None:
        """Begin; `taken` files of the batch are taken already, and among them perhaps the marker.

        `moment` is that of a date in the marker's expression.
        """
        assert spec.batch is not None
        self._spec = spec
        self._moment = moment
        self._batch = spec.batch
        self._taken = taken
        self._has_marker = has_marker
        self._has_stable_marker = has_marker
        self._room = max(0, spec.batch.files_max - taken)
        self._oldest: list[tuple[float, int, Entry]] = []
        self._markers: list[Entry] = []
        self._count = 0
        self._stable = 0
        """Of these, those that may be taken."""
        self._unstable = 0
        self._failed = 0
        self._fingerprint = hash(taken)

    @property
    def files(self) -> int:
        """How many files there are, the taken ones and markers included."""
        return self._taken + self._count + len(self._markers)

    def add(self, entry: Entry, *, is_stable: bool, is_due: bool = True) -> None:
        """Take note of one source that is there; one that has failed lately is not due."""
        self._fingerprint = (self._fingerprint + hash((entry.name, entry.size_bytes, entry.mtime))) % 2**64
        self._unstable += not is_stable
        self._failed += not is_due
        if is_marker(entry.name, self._spec, self._moment):
            self._markers.append(entry)
            self._has_stable_marker |= is_stable
            return
        self._count += 1
        if not is_stable:
            return
        self._stable += 1
        # A heap whose first is the newest, so that the oldest `room` stay.
        heapq.heappush(self._oldest, (-entry.mtime, -self._count, entry))
        if len(self._oldest) > self._room:
            heapq.heappop(self._oldest)

    def result(self, quiet: Quiet, now: float) -> Batch:
        """Say what makes the batch, or why there is none yet."""
        quiet_s = quiet.for_s(self._fingerprint, now)
        if not self.files:
            return Batch(())
        wait_s, reason = self._lacks(quiet_s)
        if reason and not self._is_full():
            return Batch((), wait_s, reason)
        entries = [entry for _, _, entry in sorted(self._oldest, reverse=True)]
        # The marker ends a batch that is complete; while more may come it stays for the last one.
        is_last = not reason and self._count <= self._room
        return Batch((*entries, *(self._markers if is_last else ())))

    def _lacks(self, quiet_s: float) -> tuple[float, str]:
        """Say after how many seconds what is there may be complete, and why it is not; no reason if it is."""
        if self._failed:
            return 0.0, f"{self._failed} files have failed and are tried again"
        if self._unstable:
            return self._spec.stable_interval_s, f"{self._unstable} files are still being written"
        if self._batch.marker and not self._markers and not self._has_marker:
            return 0.0, "its marker is not there"
        if quiet_s < self._batch.interval_s:
            return self._batch.interval_s - quiet_s, "files may still come"
        return 0.0, ""

    def _is_full(self) -> bool:
        """Say whether as many files may be taken as a batch can have: what comes later belongs to the next one anyway.

        Not where one has failed: it may belong to this batch, and then all wait for it.
        """
        is_announced = not self._batch.marker or self._has_stable_marker
        return is_announced and not self._failed and self._stable >= self._room
