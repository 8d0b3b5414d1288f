"""What the passes of one leadership share, and how a pass is had made."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol

from mft.aio import Latest
from mft.etcd.election import Leadership
from mft.model.config import Config
from mft.model.delivery import Kept, Record, Term
from mft.transfers.journal import Journal
from mft.transfers.partners import Partners
from mft.transfers.slots import SlotStore
from mft.transfers.steering import Ending

Commit = Callable[[Mapping[str, Record], tuple[str, ...]], Awaitable[None]]
"""Writes (puts, forgets) of one transfer to the journal, fenced."""


class PassResult(Protocol):
    """How a pass ended."""

    @property
    def error(self) -> str:
        """Why the pass as a whole could not go on; empty if it could."""
        ...

    @property
    def error_class(self) -> str:
        """Whose fault that is: see `mft.transfers.failures`."""
        ...

    @property
    def location(self) -> str:
        """Where it happened, if that is known."""
        ...

    @property
    def delivered(self) -> int:
        """How many files were delivered."""
        ...

    @property
    def failed(self) -> int:
        """How many files failed."""
        ...

    @property
    def wait_s(self) -> float:
        """Seconds after which another pass has something to do: a file that failed or was too young. 0: it has not."""
        ...

    @property
    def awaits(self) -> str:
        """What files that are there wait for, in words."""
        ...

    @property
    def gone(self) -> tuple[str, ...]:
        """Kept sources that are no longer there."""
        ...


class MakePass(Protocol):
    """Has a worker make one pass over a transfer.

    Raises:
        Unavailable: the worker died; what was open is in the journal.
    """

    async def __call__(
        self,
        *,
        transfer: str,
        group: str,
        term: Term,
        deadline: float,
        records: Mapping[str, Record],
        ledger: Mapping[str, Kept],
        sweep: bool,
        commit: Commit,
        ending: Ending,
    ) -> PassResult:
        """Make the pass and return how it ended."""
        ...


class Permission(Protocol):
    """Whether this instance may lead at all: see `mft.agent.restoring`."""

    @property
    def withheld(self) -> Latest[str]:
        """Why it must not; empty: it may, as far as is known."""
        ...

    async def confirm(self) -> str:
        """Give etcd's incarnation, if it may at this moment.

        Raises:
            Unavailable: it may not, or that cannot be known now.
        """
        ...


class Outcome(NamedTuple):
    """What a pass came to."""

    error: str = ""
    error_class: str = ""
    location: str = ""
    delivered: int = 0
    failed: int = 0
    wait_s: float = 0.0
    """Until a file that it has left is due; 0: it has left none."""
    awaits: str = ""
    """What files that are there wait for, in words."""
    cancelled: bool = False


class Spawn(Protocol):
    """Begins a task that ends with the leadership."""

    def __call__(self, work: Coroutine[Any, Any, Outcome], *, name: str) -> asyncio.Task[Outcome]:
        """Begin it."""
        ...


class Lead(NamedTuple):
    """One leadership and what the passes of its transfers share."""

    group: str
    leadership: Leadership
    term: Term
    journal: Journal
    slots: SlotStore
    partners: Partners
    gate: asyncio.Semaphore
    """How many passes are made at one time."""
    config: Latest[Config]
    make_pass: MakePass
    emit: Callable[[int, dict[str, Any]], None]
    rng: random.Random
    delivered: Callable[[str], None]
    """Told of a transfer whose pass has delivered something."""
    spawn: Spawn
