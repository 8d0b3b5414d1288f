"""The inbound workers as one: what each must know, the listeners they share, and their share of the sessions."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from mft.agent.supervisor import Worker
from mft.aio import Latest
from mft.worker.frames import Accept, Configure, Configured, Drain, Emit, Listen, Load, Report, Unlisten

_ABOVE_SHARE_MAX = 1.25
_SESSIONS_FREE = 8
"""A worker pauses when it has a quarter more than its share, and never for a handful of sessions."""


class InboundPool:
    """Owner of the inbound workers. The agent holds each listener; a worker that is started again gets them all."""

    def __init__(self, emit: Callable[[Emit], None], problems: Callable[[Mapping[str, str]], None]) -> None:
        self._emit = emit
        self._problems = problems
        self._workers: dict[int, Worker] = {}
        self._sessions: dict[int, int] = {}
        self._open = Latest(0)
        self._paused: set[int] = set()
        self._listeners: dict[str, socket.socket] = {}
        self._configure: Configure | None = None

    @property
    def sessions(self) -> int:
        """Sessions open now, over all workers."""
        return sum(self._sessions.values())

    async def idle(self) -> None:
        """Wait until no session is open."""
        async for sessions in self._open.follow():
            if not sessions:
                return

    @property
    def is_serving(self) -> bool:
        """Whether there is a worker for the listeners."""
        return bool(self._workers) or not self._listeners

    def configure(self, frame: Configure) -> None:
        """Use this config in all workers, those to come included."""
        self._configure = frame
        for worker in self._workers.values():
            worker.send(frame)

    def listen(self, service: str, listener: socket.socket) -> None:
        """Serve this service on this socket, which belongs to the pool from now on."""
        self._listeners[service] = listener
        for worker in self._workers.values():
            worker.send_listener(listener)
            worker.send(Listen(service=service))

    def unlisten(self, service: str, drain_s: float) -> None:
        """Stop accepting for the service; open sessions have `drain_s` seconds."""
        self._listeners.pop(service).close()
        for worker in self._workers.values():
            worker.send(Unlisten(service=service, drain_s=drain_s))

    def drain(self, drain_s: float) -> None:
        """End open sessions within `drain_s`; the listeners have been closed."""
        for worker in self._workers.values():
            worker.send(Drain(drain_s=drain_s))

    def began(self, worker: Worker) -> None:
        """Give a new worker all that the others know."""
        self._workers[worker.number] = worker
        self._sessions[worker.number] = 0
        if self._configure is not None:
            worker.send(self._configure)
        for service, listener in self._listeners.items():
            worker.send_listener(listener)
            worker.send(Listen(service=service))

    def reported(self, worker: Worker, report: Report) -> None:
        """Take note of what a worker says."""
        match report:
            case Emit():
                self._emit(report)
            case Load(sessions=sessions):
                self._sessions[worker.number] = sessions
                self._balance()
            case Configured(problems=problems):
                self._problems(problems)
            case _:
                raise AssertionError(f"an inbound worker says {report}")

    def ended(self, worker: Worker) -> None:
        """Forget a worker; its sessions are gone."""
        self._workers.pop(worker.number, None)
        self._sessions.pop(worker.number, None)
        self._paused.discard(worker.number)
        self._balance()

    def _balance(self) -> None:
        """Let workers well above their share leave new connections to the others."""
        self._open.set(self.sessions)
        if not self._workers:
            return
        bound = max(self.sessions / len(self._workers) * _ABOVE_SHARE_MAX, _SESSIONS_FREE)
        above = {number for number, sessions in self._sessions.items() if sessions > bound}
        for number in above ^ self._paused:
            self._workers[number].send(Accept(on=number not in above))
        self._paused = above
