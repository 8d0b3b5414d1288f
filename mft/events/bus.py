"""Takes events without ever waiting, and hands them to the handlers that the config wants here.

Each handler has a queue of its own, so a slow or failing one holds up neither the program nor the others. A full queue
drops its oldest informational event first; what is lost is counted and reported.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import structlog

from mft.aio import Latest, backoff, cancel_and_wait
from mft.errors import MftError
from mft.events.catalogue import CATALOGUE, EVENTS_LOST, HANDLER_FAILED, text_of
from mft.events.event import Event
from mft.events.handlers import KINDS, Handler
from mft.model.event_handlers import EventHandlerSpec

QUEUE_EVENTS_MAX = 10_000
_BATCH_EVENTS_MAX = 500
_HANDLE_S_MAX = 30.0
_BEFORE_CONFIG_EVENTS_MAX = 1000
"""Events kept from before the first config says who wants them: the start itself is worth logging."""


class _Queue:
    """The events that one handler has still to take."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self.lost = 0

    def put(self, event: Event) -> None:
        """Add an event, making room if there is none."""
        if len(self._events) >= QUEUE_EVENTS_MAX:
            self._make_room()
        self._events.append(event)
        self._filled.set()
        self._emptied.clear()

    async def first(self) -> list[Event]:
        """Wait for events and return the oldest ones, which stay in the queue until `drop`."""
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        return [self._events[index] for index in range(min(len(self._events), _BATCH_EVENTS_MAX))]

    def drop(self, events: list[Event]) -> None:
        """Remove events that were handled; some may have been dropped meanwhile to make room."""
        handled = {id(event) for event in events}
        while self._events and id(self._events[0]) in handled:
            self._events.popleft()
        if not self._events:
            self._emptied.set()

    async def emptied(self) -> None:
        """Wait until everything was handled."""
        if self._events:
            await self._emptied.wait()

    def _make_room(self) -> None:
        self.lost += 1
        for index, event in enumerate(self._events):
            if event.severity == "info":
                del self._events[index]
                return
        self._events.popleft()


class Bus:
    """The one place where events of an instance come together."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._wanted: Latest[Mapping[str, EventHandlerSpec]] = Latest({})
        self._queues: dict[str, _Queue] = {}
        self._early: deque[Event] = deque(maxlen=_BEFORE_CONFIG_EVENTS_MAX)
        self._is_configured = False
        self._log = structlog.get_logger()

    def emit(self, id: int, fields: Mapping[str, Any], at: float | None = None) -> None:
        """Take an event; never waits, never fails. `at` is in seconds since 1970, now if not given."""
        entry = CATALOGUE[id]
        event = Event(
            id=id,
            name=entry.name,
            severity=entry.severity,
            at=time.time() if at is None else at,
            instance=self._instance,
            text=text_of(id, fields),
            fields=fields,
        )
        if not self._is_configured:
            self._early.append(event)
        for queue in self._queues.values():
            queue.put(event)

    def configure(self, handlers: Mapping[str, EventHandlerSpec]) -> None:
        """Have exactly these handlers; one that is not changed keeps what it has still to take."""
        for id in self._queues.keys() - handlers.keys():
            del self._queues[id]
        for id in handlers.keys() - self._queues.keys():
            queue = self._queues[id] = _Queue()
            for event in self._early:
                queue.put(event)
        self._early.clear()
        self._is_configured = True
        self._wanted.set(handlers)

    async def run(self) -> None:
        """Hand events to the handlers until cancelled."""
        running: dict[str, tuple[EventHandlerSpec, asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as tasks:
            async for wanted in self._wanted.follow():
                for id in [id for id, (spec, _) in running.items() if wanted.get(id) != spec]:
                    await cancel_and_wait(running.pop(id)[1])
                for id in wanted.keys() - running.keys():
                    handler = KINDS[type(wanted[id])](wanted[id])
                    task = tasks.create_task(self._serve(id, handler, self._queues[id]), name=f"event-handler:{id}")
                    running[id] = (wanted[id], task)

    async def flush(self, limit_s: float) -> None:
        """Wait until all handlers have taken what there is, at most this long."""
        try:
            async with asyncio.timeout(limit_s):
                for queue in list(self._queues.values()):
                    await queue.emptied()
        except TimeoutError:
            pass

    async def _serve(self, id: str, handler: Handler, queue: _Queue) -> None:
        """Give one handler its events, in order; a failure is tried again with backoff. The border of its failures."""
        waits = backoff(0.2, 30.0)
        component, failing = f"event-handlers.{id}", False
        while True:
            events = await queue.first()
            try:
                async with asyncio.timeout(_HANDLE_S_MAX):
                    await handler.handle(events)
            except (MftError, TimeoutError) as error:
                reason = str(error) or "it took too long"
                self._log.warning("event handler failed", handler=id, reason=reason)
                if not failing:
                    self.emit(HANDLER_FAILED, {"component": component, "reason": reason})
                failing = True
                await asyncio.sleep(next(waits))
                continue
            queue.drop(events)
            failing, waits = False, backoff(0.2, 30.0)
            if queue.lost:
                lost, queue.lost = queue.lost, 0
                self.emit(EVENTS_LOST, {"component": component, "count": lost})
