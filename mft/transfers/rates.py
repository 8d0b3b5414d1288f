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
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, most: int, priority: int = 0) -> AsyncIterator[None]:
        """Wait for a turn, until fewer than `most` are inside, and have it for as long as the block lasts."""
        if self._inside >= most or self._waiting:
            await self._wait(priority, most)
        else:
            self._inside += 1
        try:
            yield
        finally:
            self._leave()
            self._admit()

    async def _wait(self, priority: int, most: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-priority, next(self._order), most, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # It was ours already.
            turn.cancel()
            self._admit()
            raise

    def _leave(self) -> None:
        self._inside -= 1

    def _admit(self) -> None:
        """Let in whose turn it is; each by the bound that it has come with."""
        while self._waiting:
            _, _, most, turn = self._waiting[0]
            if not turn.done() and self._inside >= most:
                return
            heapq.heappop(self._waiting)
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
    """The bounds of all transfers and partners of one worker. Locations of one server share its bounds."""

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
                rates.append((self._rate("server", spec.server), spec.bandwidth_bytes_s))
        bounded = [(rate, most) for rate, most in rates if most]

        async def throttle(size_bytes: int) -> None:
            for rate, most in bounded:
                await rate.take(size_bytes, most)

        return throttle

    @asynccontextmanager
    async def turn(self, priority: int, locations: Mapping[str, LocationSpec]) -> AsyncIterator[None]:
        """Wait until all these locations take one more file; have it for as long as the block lasts."""
        bounds: dict[str, int] = {}
        for spec in locations.values():
            if isinstance(spec, SshLocationSpec) and (most := spec.parallel_files_max):
                # Once, also where a file goes from a server and back to it: it would else wait for itself.
                bounds[spec.server] = min(most, bounds.get(spec.server, most))
        async with AsyncExitStack() as stack:
            # In one order for all, so that transfers in opposite directions do not wait for each other.
            for server, most in sorted(bounds.items()):
                await stack.enter_async_context(self._turns.setdefault(server, Turns()).turn(most, priority))
            yield

    def _rate(self, kind: str, id: str) -> Rate:
        return self._rates.setdefault((kind, id), Rate())
