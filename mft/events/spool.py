"""Events that the controllers must have, on this instance's disk until every controller has stored them.

    <folder>/state.json              the spool's id, the next sequence number, what each controller has stored
    <folder>/<first>.events          lines of JSON, at most a segment long; <first> is the sequence number of the first
    <folder>/<first>.kept            the same after what may be lost was taken out of it, because the spool was full

Sequence numbers grow by one and outlive a restart; with a new spool (another disk) they begin again under a new id.
A full spool loses first what will be told again anyway (a file that is tried again), then what is oldest. What is lost
is counted. `put` never waits; a thread writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from msgspec import DecodeError, Struct, json

from mft.aio import Latest, Threads, backoff
from mft.errors import Unavailable
from mft.events import catalogue
from mft.events.event import Event
from mft.events.spool_files import Line, Segments, write_whole

SPOOL_BYTES_MAX = 256 * 1024 * 1024
"""Room for about half a million deliveries while no controller can be reached."""
QUEUE_EVENTS_MAX = 20_000
"""Events that wait in memory while the disk cannot be written."""
BATCH_EVENTS_MAX = 500
_BATCH_WRITE_MAX = 5000
_SYNC_S = 1.0
"""How often what was written is flushed to the disk: a dying process loses nothing, a dying machine a second."""
FORGET_CONTROLLER_S = 30 * 86400.0
"""A controller that was not seen for so long does not hold events back any more."""
_STATE = "state.json"

_ALSO = frozenset(
    {
        catalogue.FILE_DELIVERED,
        catalogue.BATCH_DELIVERED,
        catalogue.TRANSFER_RESUMED,
        catalogue.RESEND_REQUESTED,
        catalogue.RUN_REQUESTED,
        catalogue.EVENTS_LOST,
    }
)
_EXPENDABLE = frozenset({catalogue.FILE_FAILED_WILL_RETRY, catalogue.RUN_FAILED_WILL_RETRY})


def is_for_controllers(event: Event) -> bool:
    """Say whether the controllers must have this event: what became of files, and what went wrong with transfers."""
    entry = catalogue.CATALOGUE[event.id]
    return event.id in _ALSO or (entry.group == "transfer" and event.severity != "info")


class _State(Struct):
    """What stands in the state file."""

    id: str
    next: int
    stored: dict[str, int] = {}
    """Controller → greatest sequence number that it has stored."""
    seen: dict[str, float] = {}
    """Controller → when it was last known to be there, in seconds since 1970."""


class Spool:
    """One instance's events on their way to the controllers."""

    def __init__(
        self, folder: Path, *, bytes_max: int = SPOOL_BYTES_MAX, segment_bytes_max: int = 0, barrier_s_max: float = 2.0
    ) -> None:
        self._folder = folder
        # How long a delivery waits for its event to be written: a full disk must not stop deliveries.
        self._barrier_s_max = barrier_s_max
        self._segments = Segments(folder, bytes_max, segment_bytes_max or min(bytes_max // 8, 4 * 1024 * 1024))
        self._state = _State(id=secrets.token_hex(8), next=1)
        self._threads = Threads(1, "spool")
        self._waiting: deque[Event] = deque()
        self._put = self._taken = 0
        self._lost = 0
        self._fails = False
        """Whether the last write failed: then nobody waits, and events stay in memory."""
        self._wake = asyncio.Event()
        self._written = Latest(0)
        """How many of the events that were put are in the files, or lost."""
        self._end = Latest(0)
        """The greatest sequence number that can be read."""
        self._log = structlog.get_logger()

    @property
    def id(self) -> str:
        """The id under which sequence numbers are unique."""
        return self._state.id

    @property
    def events(self) -> int:
        """How many events are on their way: some controller has still to store them."""
        return len(self._waiting) + self._end.value - min(tuple(self._state.stored.values()), default=0)

    async def open(self) -> None:
        """Read what is there, or begin anew. Before anything else, but events may be put already.

        Raises:
            Unavailable: the folder cannot be read or made.
        """
        await self._threads.run(self._load)
        self._end.set(self._state.next - 1)

    def put(self, event: Event) -> None:
        """Take an event; never waits."""
        if not is_for_controllers(event):
            return
        if len(self._waiting) >= QUEUE_EVENTS_MAX:
            self._drop_one()
        self._waiting.append(event)
        self._put += 1
        self._wake.set()

    async def written(self) -> None:
        """Wait until all that was put is in the files, but not for ever: a full disk stops no delivery."""
        if self._fails:
            return
        wanted = self._put
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._barrier_s_max), contextlib.aclosing(self._written.follow()) as counts:
                async for count in counts:
                    if count >= wanted:
                        return

    async def run(self, report_lost: Callable[[int], None]) -> None:
        """Write what was put, until cancelled; tell how many events were lost, once there is room again."""
        waits, synced = backoff(0.2, 10.0), time.monotonic()
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch = tuple(itertools.islice(self._waiting, _BATCH_WRITE_MAX))
            if not batch:
                continue
            try:
                self._lost += await self._threads.run(self._append, batch)
            except OSError as error:
                self._log.error("events for the controllers cannot be written; trying again", reason=error.strerror)
                self._fails = True
                self._wake.set()
                await asyncio.sleep(next(waits))
                continue
            waits, self._fails = backoff(0.2, 10.0), False
            self._settle(batch)
            if time.monotonic() - synced >= _SYNC_S:  # After that, so that nobody waits for it.
                await self._threads.run(self._sync)
                synced = time.monotonic()
            lost, self._lost = self._lost, 0
            if lost:
                report_lost(lost)

    async def beyond(self, sequence: int) -> None:
        """Wait until there are events after this one."""
        async with contextlib.aclosing(self._end.follow()) as ends:
            async for end in ends:
                if end > sequence:
                    return

    @property
    def end(self) -> int:
        """The greatest sequence number that can be read."""
        return self._end.value

    async def after(self, sequence: int) -> tuple[Line, ...]:
        """Wait until there are events after this one, and return the next of them, at most a batch.

        Raises:
            Unavailable: the files cannot be read.
        """
        async with contextlib.aclosing(self._end.follow(every_s=30.0)) as ends:
            async for end in ends:
                if end > sequence and (lines := await self._threads.run(self._read, sequence)):
                    return lines
        raise AssertionError("followed for ever")

    def known(self, controllers: Iterable[str], now: float) -> None:
        """Note that these controllers are there: events stay until they have them."""
        for name in controllers:
            self._state.stored.setdefault(name, 0)
            self._state.seen[name] = now
        for name in [name for name, seen in self._state.seen.items() if now - seen > FORGET_CONTROLLER_S]:
            del self._state.seen[name], self._state.stored[name]

    async def stored(self, controller: str, sequence: int) -> None:
        """Note that a controller has everything up to this event, and remove what all have."""
        self._state.stored[controller] = sequence
        await self._threads.run(self._note_stored, sequence)

    def close(self) -> None:
        """Let go of the thread."""
        self._threads.close()

    def _drop_one(self) -> None:
        """Make room in memory; `_taken` counts it as dealt with, so that nobody waits for it."""
        index = next((n for n, event in enumerate(self._waiting) if event.id in _EXPENDABLE), 0)
        del self._waiting[index]
        self._lost += 1
        self._taken += 1

    def _settle(self, batch: tuple[Event, ...]) -> None:
        for event in batch:
            if self._waiting and self._waiting[0] is event:  # Else it was dropped meanwhile, and counted.
                self._waiting.popleft()
                self._taken += 1
        if self._waiting:
            self._wake.set()
        self._written.set(self._taken)
        self._end.set(self._state.next - 1)

    # ---- in the thread

    def _load(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError, DecodeError):
                self._state = json.decode((self._folder / _STATE).read_bytes(), type=_State)
            self._state.next = max(self._state.next, self._segments.load() + 1)
            self._save()
        except OSError as error:
            raise Unavailable(f"the event spool {self._folder} cannot be used: {error.strerror}") from error

    def _save(self) -> None:
        write_whole(self._folder / _STATE, json.encode(self._state))

    def _sync(self) -> None:
        with contextlib.suppress(OSError):  # The next write says why.
            self._segments.sync()

    def _append(self, batch: tuple[Event, ...]) -> int:
        """Write a batch. Returns how many events were lost to make room."""
        first = self._state.next
        self._segments.append([Line.of(first + n, event) for n, event in enumerate(batch)])
        self._state.next += len(batch)
        stored = min(tuple(self._state.stored.values()), default=0)
        try:
            return self._segments.make_room(lambda line: line.id in _EXPENDABLE, stored)
        except OSError:
            return 0  # Tried again after the next batch; this one is written and must not be written twice.

    def _read(self, sequence: int) -> tuple[Line, ...]:
        try:
            return self._segments.read(sequence, BATCH_EVENTS_MAX)
        except OSError as error:
            raise Unavailable(f"the event spool {self._folder} cannot be read: {error.strerror}") from error

    def _note_stored(self, sequence: int) -> None:
        # Of a disk put back to an earlier state: what comes must not have numbers that are stored already.
        self._state.next = max(self._state.next, sequence + 1)
        with contextlib.suppress(OSError):
            stored = min(tuple(self._state.stored.values()), default=0)
            if self._segments.has_before(stored):
                self._save()  # First: without files the next sequence number stands here alone.
                self._segments.remove_up_to(stored)
