"""Which listeners run on this instance: a pure plan, and the loop that carries it out.

Only a listener's identity restarts it. Everything else is read from the worker's `Latest` at the next login or use, so
open sessions of untouched services never notice a new version.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import structlog

from mft.agent.inbound_pool import InboundPool
from mft.aio import Latest
from mft.events import catalogue
from mft.model.services import ListenerSpec, ServiceSpec

_RETRY_S = 5.0
"""How often a listener that could not be opened is tried again, and everything is looked over."""
_BACKLOG = 1024


class Changes(NamedTuple):
    """What to do, by service id. Stops come first: a port may move from one service to another."""

    stop: tuple[str, ...]
    start: tuple[str, ...]


def plan(running: Mapping[str, ListenerSpec], wanted: Mapping[str, ServiceSpec]) -> Changes:
    """Say which services to stop and start so that `running` (id → identity) becomes `wanted`; touch nothing."""
    stop = tuple(id for id, listener in running.items() if id not in wanted or wanted[id].listener != listener)
    start = tuple(id for id, spec in wanted.items() if running.get(id) != spec.listener)
    return Changes(stop=stop, start=start)


class Reconciler:
    """Opens and closes listeners until they are those that the config wants here."""

    def __init__(
        self, wanted: Latest[Mapping[str, ServiceSpec]], pool: InboundPool, emit: Callable[[int, dict[str, Any]], None]
    ) -> None:
        self._wanted = wanted
        self._pool = pool
        self._emit = emit
        self._running: dict[str, ServiceSpec] = {}
        self.problems: Latest[Mapping[str, str]] = Latest({})
        """Service id → why it does not listen."""
        self._log = structlog.get_logger()

    @property
    def running(self) -> frozenset[str]:
        """Services that listen now."""
        return frozenset(self._running)

    async def run(self) -> None:
        """Reconcile at each change and by the clock, until cancelled; then close every listener."""
        try:
            async for wanted in self._wanted.follow(every_s=_RETRY_S):
                self.reconcile(wanted)
        finally:
            self.close()

    def reconcile(self, wanted: Mapping[str, ServiceSpec]) -> None:
        """Make one pass: stop first, then start; a service that cannot start leaves the others alone."""
        changes = plan({id: spec.listener for id, spec in self._running.items()}, wanted)
        for id in changes.stop:
            self._stop(id)
        # What is not of the listener's identity changes without a restart: `drain_s` at a later stop, for one.
        self._running = {id: wanted[id] for id in self._running}
        problems: dict[str, str] = {}
        for id in changes.start:
            problem = self._start(id, wanted[id])
            if problem:
                problems[id] = problem
        if problems != self.problems.value:
            self.problems.set(problems)
        if changes.stop or len(problems) < len(changes.start):
            self._log.info("services reconciled", stopped=changes.stop, running=sorted(self._running))

    def close(self) -> None:
        """Stop accepting for all services."""
        for id in list(self._running):
            self._stop(id)

    def _start(self, id: str, spec: ServiceSpec) -> str:
        """Open the listener and hand it over. Returns why it could not be opened, or nothing."""
        try:
            listener = open_listener(spec.listener)
        except OSError as error:
            problem = _explain(spec.listener, error)
            if self.problems.value.get(id) != problem:
                self._emit(catalogue.COMPONENT_FAILED, {"component": f"services.{id}", "reason": problem})
            return problem
        self._running[id] = spec
        self._pool.listen(id, listener)
        self._emit(catalogue.COMPONENT_STARTED, {"component": f"services.{id}"})
        return ""

    def _stop(self, id: str) -> None:
        self._pool.unlisten(id, self._running.pop(id).drain_s)
        self._emit(catalogue.COMPONENT_STOPPED, {"component": f"services.{id}"})


def open_listener(spec: ListenerSpec) -> socket.socket:
    """Bind and listen. The caller owns the socket.

    Raises:
        OSError: the address is taken, not of this machine, or not permitted.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        spec.address, spec.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
    )[0]
    listener = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _explain(spec: ListenerSpec, error: OSError) -> str:
    where = f"{spec.address}:{spec.port}"
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: another program has this port"
    if error.errno == errno.EACCES:
        return f"cannot listen on {where}: ports below 1024 need CAP_NET_BIND_SERVICE"
    return f"cannot listen on {where}: {error.strerror or error}"
