"""Takes events without ever waiting, and hands them to the handlers that the config wants here.

Each handler has a queue of its own, so a slow or failing one holds up neither the program nor the others. A full queue
drops its oldest informational event first; what is lost is counted and reported.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from mft.aio import Latest, backoff, cancel_and_wait
from mft.errors import MftError
from mft.events.catalogue import CATALOGUE, EVENTS_LOST, HANDLER_FAILED, HANDLER_RECOVERED, text_of
from mft.events.event import Event
from mft.events.handlers import KINDS, Handler
from mft.events.queue import EventQueue
from mft.model.event_handlers import EventHandlerSpec

QUEUE_EVENTS_MAX = 10_000
HANDLE_S_MAX = 30.0
"""Seconds that a handler may need for one batch."""
_RETRY_FIRST_S, _RETRY_MOST_S = 0.2, 30.0
_GATHER_S = 0.02
"""After each batch, so that what comes closely together goes together: a write of one line costs as much as of many."""
_BEFORE_CONFIG_EVENTS_MAX = 1000
"""Events kept from before the first config says who wants them: the start itself is worth logging."""


def _nowhere(event: Event) -> None:
    """Take no event."""


class Bus:
    """The one place where events of an instance come together."""

    def __init__(
        self,
        instance: str,
        *,
        queue_events_max: int = QUEUE_EVENTS_MAX,
        handle_s_max: float = HANDLE_S_MAX,
        tap: Callable[[Event], None] = _nowhere,
    ) -> None:
        """`tap` is given every event too, whatever the config wants; it never waits."""
        self._instance = instance
        self._tap = tap
        self._queue_events_max = queue_events_max
        self._handle_s_max = handle_s_max
        self._wanted: Latest[Mapping[str, EventHandlerSpec]] = Latest({})
        self._queues: dict[str, EventQueue] = {}
        self._early: deque[Event] = deque(maxlen=_BEFORE_CONFIG_EVENTS_MAX)
        self._is_configured = False
        self._log = structlog.get_logger()

    def emit(self, id: int, fields: Mapping[str, Any], at: float | None = None) -> None:
        """Take an event; never waits. `at` is in seconds since 1970, now if not given."""
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
        self._tap(event)
        if not self._is_configured:
            self._early.append(event)
        for queue in self._queues.values():
            queue.put(event)

    def configure(self, handlers: Mapping[str, EventHandlerSpec]) -> None:
        """Have exactly these handlers (id → spec); one that stays, even changed, keeps what it has still to take."""
        for id in self._queues.keys() - handlers.keys():
            del self._queues[id]
        for id in self._queues.keys() & handlers.keys():
            if self._wanted.value.get(id) != handlers[id]:
                # What comes from now on is for the changed handler, also while the one before still finishes.
                self._queues[id] = self._queues[id].successor()
        for id in handlers.keys() - self._queues.keys():
            queue = self._queues[id] = EventQueue(self._queue_events_max)
            for event in self._early:
                queue.put(event)
        self._early.clear()
        self._is_configured = True
        self._wanted.set(dict(handlers))

    async def run(self) -> None:
        """Hand events to the handlers until cancelled."""
        running: dict[str, tuple[EventHandlerSpec, EventQueue, asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as tasks:
            async for wanted in self._wanted.follow():
                # A handler that was removed and added again has a new queue: the task of the old one must go too.
                for id, (spec, queue, task) in list(running.items()):
                    if wanted.get(id) != spec or self._queues.get(id) is not queue:
                        del running[id]
                        await cancel_and_wait(task)
                # While waiting, the next config may have come: then the next turn is the one that counts.
                for id in (wanted.keys() & self._queues.keys()) - running.keys():
                    queue = self._queues[id]
                    handler = KINDS[type(wanted[id])](wanted[id])
                    task = tasks.create_task(self._serve(id, handler, queue), name=f"event-handler:{id}")
                    running[id] = (wanted[id], queue, task)

    async def flush(self, limit_s: float) -> None:
        """Wait until all handlers have taken what there is, at most this long."""
        try:
            async with asyncio.timeout(limit_s):
                for queue in list(self._queues.values()):
                    await queue.emptied()
        except TimeoutError:
            pass

    async def _serve(self, id: str, handler: Handler, queue: EventQueue) -> None:
        """Give one handler its events, in order; a failure is tried again with backoff. The border of its failures."""
        component, failures = f"event-handlers.{id}", 0
        waits = backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
        while True:
            events = await queue.batch()
            reason = await self._handle(id, handler, queue, events)
            if reason is None:
                if failures:
                    self.emit(HANDLER_RECOVERED, {"component": component, "failures": failures})
                failures, waits = 0, backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
                if lost := queue.take_lost():
                    self.emit(EVENTS_LOST, {"component": component, "count": lost})
                await asyncio.sleep(_GATHER_S)
                continue
            failures += 1
            if failures == 1:  # Once for each time it breaks; the log has every failure.
                self.emit(HANDLER_FAILED, {"component": component, "reason": reason})
            await asyncio.sleep(next(waits))

    async def _handle(self, id: str, handler: Handler, queue: EventQueue, events: tuple[Event, ...]) -> str | None:
        """Let the handler handle one batch. Returns why it failed, or None."""
        try:
            async with asyncio.timeout(self._handle_s_max):
                await handler.handle(events)
        except (MftError, TimeoutError) as error:
            reason = str(error) or f"it took longer than {self._handle_s_max:g} s"
            self._log.warning("event handler failed", handler=id, reason=reason)
            return reason
        except Exception as error:
            # A mistake in the handler. These events would make it fail for ever, and the others wait behind them.
            self._log.exception("event handler has a bug; its events are lost", handler=id, events=len(events))
            queue.settled(lost=True)
            return f"internal error: {type(error).__name__}"
        queue.settled()
        return None
