"""The events that one handler has still to take: bounded, and when full the least important goes first."""

from __future__ import annotations

import asyncio
from collections import deque

from mft.events.event import Event

BATCH_EVENTS_MAX = 500
"""Events handed over at one time: enough to make one write of many lines, few enough to be quick to do again."""


class EventQueue:
    """First in, first out. A batch once handed over stays the same until it is `settled`."""

    def __init__(self, events_max: int) -> None:
        self._events_max = events_max
        self._events: deque[Event] = deque()
        self._infos = 0
        self._batch: tuple[Event, ...] = ()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._lost = 0

    def put(self, event: Event) -> None:
        """Add an event, making room if there is none."""
        if len(self._events) >= self._events_max:
            self._lost += 1
            if event.severity == "info" and not self._infos:
                return  # All that waits is more important than what comes.
            self._remove_oldest()
        self._events.append(event)
        self._infos += event.severity == "info"
        self._filled.set()
        self._emptied.clear()

    def _remove_oldest(self) -> None:
        if not self._infos:
            self._events.popleft()
            return
        index = next(index for index, event in enumerate(self._events) if event.severity == "info")
        del self._events[index]
        self._infos -= 1

    async def batch(self) -> tuple[Event, ...]:
        """Wait for events and return the oldest ones; the same ones again until `settled`."""
        while not self._batch:
            while not self._events:
                self._filled.clear()
                await self._filled.wait()
            self._batch = tuple(self._events.popleft() for _ in range(min(len(self._events), BATCH_EVENTS_MAX)))
            self._infos -= sum(event.severity == "info" for event in self._batch)
        return self._batch

    def settled(self, lost: bool = False) -> None:
        """Let go of the batch: it was handled, or it never will be."""
        self._lost += len(self._batch) if lost else 0
        self._batch = ()
        if not self._events:
            self._emptied.set()

    def successor(self) -> EventQueue:
        """Move all that waits to a new queue, the batch in hand first, for the handler that comes after this one's."""
        queue = EventQueue(self._events_max)
        for event in (*self._batch, *self._events):
            queue.put(event)
        queue._lost += self._lost
        self._events.clear()
        self._infos = self._lost = 0
        return queue

    def take_lost(self) -> int:
        """Return how many events were lost since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    async def emptied(self) -> None:
        """Wait until everything was handled."""
        if self._events or self._batch:
            await self._emptied.wait()
