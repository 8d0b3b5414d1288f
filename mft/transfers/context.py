"""What the deliveries of one run share: the places, the right to act, the journal, and what is told to others."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Protocol

import msgspec

from mft.aio import boottime
from mft.errors import LeadershipLost, MftError
from mft.model.dates import Moment
from mft.model.delivery import Kept, Record, Term, taken_at, temp_name
from mft.model.locations import LocationSpec, SshLocationSpec
from mft.model.transfers import TransferSpec, archive_location_of
from mft.transfers.memory import Memory
from mft.transfers.remotes.base import Remote, join
from mft.transfers.remotes.visits import Visits
from mft.transfers.selection import moment_of
from mft.transfers.targets import Targets

Emit = Callable[[int, dict[str, Any]], None]

Progress = Callable[[str, str, int, int], None]
"""Told of each piece that was given on: delivery, name, bytes done, size in bytes. Never waits."""

Throttle = Callable[[int], Awaitable[None]]
"""Waits until so many bytes more may be sent."""


Turn = Callable[[], AbstractAsyncContextManager[None]]
"""Waits until the partners take one more file, and lasts as long as that file is on its way."""


class Journal(Protocol):
    """The records of one transfer, fenced by the term. Each call returns when etcd has agreed."""

    async def put(self, delivery: str, record: Record) -> None:
        """Write this record.

        Raises:
            LeadershipLost: the term has ended; nothing was written.
            Conflict: the record is not what it was taken for.
            Unavailable: etcd cannot be reached; whether it was written is unknown.
        """
        ...

    async def forget(self, delivery: str) -> None:
        """Remove the delivery's record. Raises as `put` does."""
        ...

    async def put_all(self, records: Mapping[str, Record]) -> Mapping[str, MftError]:
        """Write these records (delivery → record). Returns delivery → why it was refused; the others are written.

        Raises:
            LeadershipLost: the term has ended; nothing was written.
            Unavailable: etcd cannot be reached; whether they were written is unknown.
        """
        ...

    async def forget_all(self, deliveries: Sequence[str]) -> Mapping[str, MftError]:
        """Remove the records of these deliveries; as `put_all`."""
        ...


class Permit:
    """The right to act outside: valid until the deadline of the term, which each renewal moves on."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.takes_new = True
        """Whether new sources may be begun; else only what was begun is finished."""

    def check(self) -> None:
        """Call right before every outside effect.

        Raises:
            LeadershipLost: the deadline has passed, so another node may lead already.
        """
        if boottime() >= self.deadline:
            raise LeadershipLost("the deadline of this term has passed")


def _say_nothing(delivery: str, name: str, bytes_done: int, size_bytes: int) -> None:
    """Tell nobody of the progress."""


async def _wait_for_nothing(size_bytes: int) -> None:
    """Let everything pass at once."""


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """All that the deliveries of one run share."""

    transfer: str
    spec: TransferSpec
    source: Remote
    destination: Remote
    destination_spec: LocationSpec
    source_spec: LocationSpec | None = None
    term: Term
    run: int
    began_at: float = msgspec.field(default_factory=time.time)
    """Seconds since 1970. Where an expression names a date, it is the one of this moment, however long the run takes:
    midnight is never in the middle of it."""
    node: str
    version: int = 0
    """Of the config."""
    permit: Permit
    journal: Journal
    emit: Emit
    ledger: Mapping[str, Kept] = {}
    """Kept source → as it was when it was delivered, at the beginning of the run."""
    archive: Remote | None = None
    """Where delivered sources are kept, if that is neither the source's location nor nowhere."""
    archive_spec: LocationSpec | None = None
    memory: Memory = msgspec.field(default_factory=Memory)
    """What the worker remembers of this transfer from run to run."""
    progress: Progress = _say_nothing
    throttle: Throttle = _wait_for_nothing
    """Of what is sent from the source to the destination."""
    throttle_read_back: Throttle = _wait_for_nothing
    """Of what is read back from the destination."""
    throttle_archive: Throttle = _wait_for_nothing
    """Of what is copied from the source into an archive."""
    threads: Visits | None = None
    """For work of the processor's; without them it is done in the loop."""
    turn: Turn = nullcontext
    transfers: frozenset[str] = frozenset()
    """All transfers in the config: what stands in `.mft/` for another is told of. Empty: that is not looked at."""
    folders: set[str] = msgspec.field(default_factory=set)
    """Folders under the destination folder that were seen in this run."""
    targets: Targets = msgspec.field(default_factory=Targets)
    attempts: itertools.count[int] = msgspec.field(default_factory=itertools.count)

    def new_temp(self, delivery: str) -> str:
        """Name a temp file that no other attempt ever had: the run is unique within the term, the count in the run."""
        attempt = f"{self.run}-{next(self.attempts)}"
        return temp_name(delivery, self.term, attempt, self.spec.temporary_prefix, self.spec.temporary_suffix)

    def at_destination(self, name: str) -> str:
        """Give the path of a name in the destination folder."""
        return join(self.spec.destination_path, name)

    def moment_of(self, delivery: str) -> Moment:
        """Give the moment at which a delivery was taken: that of its id, at each attempt and for each leader."""
        return moment_of(self.spec, taken_at(delivery))

    @property
    def place(self) -> str:
        """Mark the folders between which files go, as their transfer names them.

        By the locations' ids and not by what these are: a root or an address may rightly differ from node to node.
        """
        spec = self.spec
        folders = (spec.source_location, spec.source_path, spec.destination_location, spec.destination_path)
        return hashlib.sha256("\0".join(folder.strip("/") for folder in folders).encode()).hexdigest()[:12]

    @property
    def locations(self) -> Mapping[str, LocationSpec]:
        """Give the specs of source, destination and archive by their locations' ids."""
        found = {self.spec.destination_location: self.destination_spec}
        if self.source_spec is not None:
            found[self.spec.source_location] = self.source_spec
        if self.archive_spec is not None:
            found[archive_location_of(self.spec)] = self.archive_spec
        return found

    @property
    def proves_publication(self) -> bool:
        """Whether a vanished temp file proves that it was renamed to its final name."""
        sweeps = isinstance(self.destination_spec, SshLocationSpec) and self.destination_spec.sweeps_temp
        return self.destination.source_atomic and not sweeps
