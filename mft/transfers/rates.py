"""How fast and how many at one time: bounds of a transfer and of a partner, over all that one worker does."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NamedTuple

from mft.aio import boottime
from mft.model.locations import LocationSpec, SshLocationSpec
from mft.model.transfers import TransferSpec, archive_location_of

Throttle = Callable[[int], Awaitable[None]]


class Rate:
    """Lets bytes through at a rate. Each piece waits until those before have had their time: no bursts."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def take(self, size_bytes: int, bytes_s: int) -> None:
        """Return when `size_bytes` may go; `bytes_s` 0: at once."""
        if bytes_s == 0:
            return
        now = boottime()
        begin = max(now, self._free_at)
        self._free_at = begin + size_bytes / bytes_s
        if begin > now:
            await asyncio.sleep(begin - now)


class Turns:
    """Lets so many in at one time. Who has more priority goes first, among equals who came first."""

    def __init__(self) -> None:
        self._inside = 0
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, most: int, priority: int = 0) -> AsyncIterator[None]:
        """Wait for a turn and have it for as long as the block lasts; `most` 0: at once."""
        if most and (self._inside >= most or self._waiting):
            await self._wait(priority, most)
        else:
            self._inside += 1
        try:
            yield
        finally:
            self._leave()
            self._admit(most)

    async def _wait(self, priority: int, most: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-priority, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # It was ours already.
            turn.cancel()
            self._admit(most)
            raise

    def _leave(self) -> None:
        self._inside -= 1

    def _admit(self, most: int) -> None:
        while self._waiting and (self._inside < most or not most or self._waiting[0][2].done()):
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._inside += 1
                turn.set_result(None)


class Throttles(NamedTuple):
    """Waits until so many bytes more may go, for each way that content goes in a transfer."""

    send: Throttle
    """From the source to the destination."""
    read_back: Throttle
    """From the destination, to be compared."""
    archive: Throttle
    """From the source into the archive."""


class Limits:
    """The bounds of all transfers and locations of one worker."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], Rate] = {}
        self._turns: dict[str, Turns] = {}

    def throttles(self, transfer: str, spec: TransferSpec, locations: Mapping[str, LocationSpec]) -> Throttles:
        """Give what bounds each way that content goes in this transfer, between its `locations`."""
        source, destination = spec.source_location, spec.destination_location
        bound = partial(self._throttle, transfer, spec.bandwidth_bytes_s, locations)
        return Throttles(
            send=bound((source, destination)),
            read_back=bound((destination,)),
            archive=bound((source, archive_location_of(spec) or source)),
        )

    def _throttle(
        self, transfer: str, bytes_s: int, locations: Mapping[str, LocationSpec], passed: tuple[str, ...]
    ) -> Throttle:
        """Give what waits until so many bytes more may pass these locations.

        One that is passed twice, from it and to it, counts twice: both ways go over the partner's one line.
        """
        rates = [(self._rate("transfer", transfer), bytes_s)]
        for id in passed:
            spec = locations[id]
            if isinstance(spec, SshLocationSpec):
                rates.append((self._rate("location", id), spec.bandwidth_bytes_s))
        bounded = [(rate, most) for rate, most in rates if most]

        async def throttle(size_bytes: int) -> None:
            for rate, most in bounded:
                await rate.take(size_bytes, most)

        return throttle

    @asynccontextmanager
    async def turn(self, priority: int, locations: Mapping[str, LocationSpec]) -> AsyncIterator[None]:
        """Wait until all these locations take one more file; have it for as long as the block lasts."""
        async with AsyncExitStack() as stack:
            # In one order for all, so that transfers in opposite directions do not wait for each other.
            for id, spec in sorted(locations.items(), key=lambda pair: pair[0]):
                if isinstance(spec, SshLocationSpec):
                    turns = self._turns.setdefault(id, Turns())
                    await stack.enter_async_context(turns.turn(spec.parallel_files_max, priority))
            yield

    def _rate(self, kind: str, id: str) -> Rate:
        return self._rates.setdefault((kind, id), Rate())
