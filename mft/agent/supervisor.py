"""Keeps worker processes alive: spawns them, hears them, and starts one again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Mapping
from typing import Protocol

import structlog

from mft.aio import Latest, backoff, boottime
from mft.process import python_command
from mft.worker.frames import FRAME_READ_BYTES, Channel, Frame, Ping, Pong, Ready, Report
from mft.worker.main import Kind

_RESTART_S_FIRST, _RESTART_S_MOST = 0.1, 10.0
_END_S_MAX = 2.0
_PING_S = 2.0
_SILENCE_S_MAX = 30.0
"""A worker that says nothing for so long hangs. Far more than a busy loop ever takes: a kill costs sessions."""
_MEMORY: Mapping[str, str] = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(8 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024 * 1024),
}
"""Pieces of content go from thread to thread; with an arena for each the C library keeps much of what they leave. But
as much as is under way is kept, or the system clears its pages anew for every piece. Source: mallopt(3)."""
_STEADY_S = 30.0
"""A worker that lived this long did not fail at start: the next wait is the first again."""


class Worker:
    """One running worker process as the agent sees it."""

    def __init__(
        self, number: int, process: asyncio.subprocess.Process, channel: Channel[Report], descriptors: socket.socket
    ) -> None:
        self.number = number
        """Unique within the agent's life; a worker started again has another."""
        self.pid = process.pid
        self._process = process
        self._channel = channel
        self._descriptors = descriptors
        self.heard_at = boottime()
        self.ended = asyncio.Event()

    def send(self, frame: Frame) -> None:
        """Queue one order. To a worker that has died it goes nowhere."""
        self._channel.send(frame)

    def send_listener(self, listener: socket.socket) -> None:
        """Hand over a listening socket; the `Listen` that names its service is to follow."""
        with contextlib.suppress(OSError):  # A dying worker: its end is noticed at the channel.
            socket.send_fds(self._descriptors, [b"."], [listener.fileno()])

    def kill(self) -> None:
        """End the process now; what it was doing is resumed by the journal."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class WorkerOwner(Protocol):
    """Who the workers of one kind belong to: told of each beginning, report and end."""

    def began(self, worker: Worker) -> None:
        """The worker is ready for orders."""
        ...

    def reported(self, worker: Worker, report: Report) -> None:
        """The worker said something."""
        ...

    def ended(self, worker: Worker) -> None:
        """The worker is gone; it will be replaced."""
        ...


class Supervisor:
    """As many workers of one kind as are wanted, each started again with backoff when it dies."""

    def __init__(self, kind: Kind, name: str, log_options: str, owner: WorkerOwner, count: Latest[int]) -> None:
        self._kind = kind
        self._name = name
        self._log_options = log_options
        self._owner = owner
        self._count = count
        self._numbers = itertools.count()
        self._log = structlog.get_logger().bind(worker=kind)

    async def run(self) -> None:
        """Keep `count` workers until cancelled; then none is left."""
        slots: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as tasks:
            async for count in self._count.follow():
                while len(slots) < count:
                    name = f"{self._kind}-worker:{len(slots)}"
                    slots.append(tasks.create_task(self._keep(), name=name))
                while len(slots) > count:
                    slots.pop().cancel()

    async def _keep(self) -> None:
        """Run one worker after another."""
        waits = backoff(_RESTART_S_FIRST, _RESTART_S_MOST)
        while True:
            began = boottime()
            status = await self._run_one()
            if boottime() - began > _STEADY_S:
                waits = backoff(_RESTART_S_FIRST, _RESTART_S_MOST)
            wait_s = next(waits)
            self._log.warning("worker ended, starting another", status=status, wait_s=round(wait_s, 2))
            await asyncio.sleep(wait_s)

    async def _run_one(self) -> int:
        """Run one worker to its end. Returns its exit status."""
        ours, theirs = socket.socketpair()
        descriptors_ours, descriptors_theirs = socket.socketpair()
        arguments = (self._kind, self._name, str(theirs.fileno()), str(descriptors_theirs.fileno()))
        nice = os.getpriority(os.PRIO_PROCESS, os.getppid())  # The guardian's: this process has a better one.
        command = python_command("mft.worker.main", *arguments, self._log_options, str(nice), str(os.getpid()))
        process = await asyncio.create_subprocess_exec(
            *command,
            pass_fds=(theirs.fileno(), descriptors_theirs.fileno()),
            stdin=asyncio.subprocess.DEVNULL,
            env={**_MEMORY, **os.environ},
        )
        theirs.close()
        descriptors_theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=FRAME_READ_BYTES)
        channel: Channel[Report] = Channel(reader, writer, Report)
        worker = Worker(next(self._numbers), process, channel, descriptors_ours)
        try:
            await self._hear(worker, channel)
            # It has closed its end: let it say on standard error why, before it is helped along.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S_MAX):
                    await process.wait()
        finally:
            worker.kill()
            channel.close()
            descriptors_ours.close()
            await process.wait()
            worker.ended.set()
            self._owner.ended(worker)
        return process.returncode or 0

    async def _hear(self, worker: Worker, channel: Channel[Report]) -> None:
        """Pass on what the worker says until its channel closes. One that hangs is killed: it holds up its runs."""
        async with asyncio.TaskGroup() as tasks:
            pinging = tasks.create_task(self._ping(worker), name=f"ping:{worker.number}")
            while (report := await channel.receive()) is not None:
                worker.heard_at = boottime()
                match report:
                    case Ready():
                        self._log.debug("worker ready", pid=worker.pid)
                        self._owner.began(worker)
                    case Pong():
                        pass
                    case _:
                        self._owner.reported(worker, report)
            pinging.cancel()

    async def _ping(self, worker: Worker) -> None:
        while True:
            began = boottime()
            worker.send(Ping())
            await asyncio.sleep(_PING_S)
            now = boottime()
            # A pause of this process itself (suspend, SIGSTOP) is no silence of the worker's.
            if now - began < 2 * _PING_S and now - worker.heard_at > _SILENCE_S_MAX:
                self._log.error("worker hangs, killing it", pid=worker.pid, silent_s=round(now - worker.heard_at))
                worker.kill()
                return
