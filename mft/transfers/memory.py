"""What a worker remembers of one transfer from run to run. Lost with the worker, and nothing depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mft.model.delivery import Term
from mft.transfers.gathering import Quiet, Waiting
from mft.transfers.remotes.base import Entry
from mft.transfers.retries import Retries

_PARTIALS_MAX = 1000
"""Uploads remembered that were cut off: more than can be on their way at one time."""

_WARN_EVERY_S = 3600.0


class Mark(NamedTuple):
    """A place in a content up to which it is known."""

    offset_bytes: int
    sha256: Any
    """`hashlib` object of what comes before; copied before it is used."""


class Partial(NamedTuple):
    """An upload that was cut off and may be gone on with: in the same term, while the source is the same."""

    temp: str
    """Name of the temp file at the destination."""
    term: Term
    source: Entry
    marks: tuple[Mark, ...]
    """The newest places, in their order."""


class Memory:
    """Uploads that were cut off, files that failed, when the archive was looked through, since when it is quiet."""

    def __init__(self) -> None:
        self._partials: dict[str, Partial] = {}
        self.purged_at = 0.0
        """Seconds since 1970."""
        self.missing_since: dict[str, float] = {}
        """Sources that the ledger knows and nobody sees → since when (seconds on CLOCK_BOOTTIME)."""
        self.is_careful = False
        """An error was not foreseen, where many files went together: one by one it is held against the one file."""
        self.reads_back = False
        """The partner was lost over a request to hash what arrived, so it is read back instead."""
        self._warned_at = -_WARN_EVERY_S
        self.retries = Retries()
        self.quiet = Quiet()
        self.waiting = Waiting()

    def is_due_to_warn(self, now: float) -> bool:
        """Say whether it is time to warn again that the ledger fills; `now` is on CLOCK_BOOTTIME."""
        is_due = now - self._warned_at >= _WARN_EVERY_S
        if is_due:
            self._warned_at = now
        return is_due

    def remember(self, delivery: str, partial: Partial) -> None:
        """Keep an upload that was cut off; the oldest one is forgotten where there are too many."""
        self._partials.pop(delivery, None)
        if len(self._partials) >= _PARTIALS_MAX:
            del self._partials[next(iter(self._partials))]
        self._partials[delivery] = partial

    def recall(self, delivery: str) -> Partial | None:
        """Give what was kept of this delivery, once."""
        return self._partials.pop(delivery, None)

    def temps(self, term: Term) -> Iterator[str]:
        """Yield the temp names that may still be gone on with; those of another term are forgotten."""
        self._partials = {id: partial for id, partial in self._partials.items() if partial.term == term}
        for partial in self._partials.values():
            yield partial.temp
