"""The inbound worker: serves sessions on the sockets that the agent hands it, by the config that it is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import msgspec
import structlog

from mft.aio import Latest, Threads, cancel_and_wait
from mft.auth.accounts import AccountsMethod
from mft.auth.chain import Chain
from mft.auth.passwords import THREADS_MAX as PASSWORD_THREADS_MAX
from mft.auth.passwords import Passwords
from mft.errors import Invalid
from mft.events import catalogue
from mft.model.config import Config
from mft.services.sftp import SftpService
from mft.services.sftp_options import load_host_keys
from mft.worker.frames import (
    Accept,
    Channel,
    Configure,
    Configured,
    Drain,
    Emit,
    Listen,
    Load,
    Order,
    Ping,
    Pong,
    Ready,
    Unlisten,
)

FILE_THREADS_MAX = 32
"""Calls on files at one time. Storage that hangs holds so many; then the sessions of this worker wait, not the loop."""


async def serve(channel: Channel[Order], descriptors: socket.socket) -> None:
    """Serve until the agent is gone (then end at once) or a drain is done; every session has ended then."""
    files, passwords = Threads(FILE_THREADS_MAX, "files"), Threads(PASSWORD_THREADS_MAX, "passwords")
    try:
        await InboundWorker(channel, descriptors, files, passwords).serve()
    finally:
        files.close()
        passwords.close()


class InboundWorker:
    """Does what the agent orders, and tells it what happens."""

    def __init__(self, channel: Channel[Order], descriptors: socket.socket, files: Threads, passwords: Threads) -> None:
        self._log = structlog.get_logger()
        self._channel = channel
        self._descriptors = descriptors
        self._files = files
        self._config = Latest(Config())
        self._version = 0
        self._chain = Chain([AccountsMethod(self._config, Passwords(passwords))])
        self._services: dict[str, SftpService] = {}
        self._running: dict[SftpService, asyncio.Task[None]] = {}
        self._problems: dict[str, str] = {}
        self._accepts = True
        self._sessions = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._drained = asyncio.Event()

    async def serve(self) -> None:
        """Follow orders until there are none."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            orders = tasks.create_task(self._follow(), name="orders")
            drained = tasks.create_task(self._drained.wait(), name="drained")
            self._channel.send(Ready())
            await asyncio.wait((orders, drained), return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait(orders, drained, *self._running.values())
        with contextlib.suppress(ConnectionError):  # The agent is gone; there is nobody to tell.
            await self._channel.drain()

    async def _follow(self) -> None:
        while (order := await self._channel.receive()) is not None:
            match order:
                case Configure():
                    self._configure(order)
                case Listen(service=service):
                    self._listen(service)
                case Unlisten(service=service, drain_s=drain_s):
                    self._unlisten(service, drain_s)
                case Accept(on=on):
                    self._accepts = on
                    for running in self._services.values():
                        running.accept(on)
                case Ping():
                    self._channel.send(Pong())
                case Drain(drain_s=drain_s):
                    self._child(self._drain(drain_s), "drain")
                case _:
                    raise AssertionError(f"an order for another kind of worker: {type(order).__name__}")

    # ---- orders

    def _configure(self, order: Configure) -> None:
        config = msgspec.msgpack.decode(order.config, type=Config)
        self._version = order.version
        self._problems = {}
        for id, spec in config.services.items():
            try:
                load_host_keys(spec.listener)
            except Invalid as error:
                self._problems[id] = str(error)
        self._config.set(config)
        self._channel.send(Configured(version=self._version, problems=self._problems))

    def _listen(self, id: str) -> None:
        """Serve on the socket that was sent before this order; one that nothing can be served on is closed."""
        _, fds, _, _ = socket.recv_fds(self._descriptors, 1, 1, socket.MSG_CMSG_CLOEXEC)
        listener = socket.socket(fileno=fds[0])
        try:
            service = SftpService(
                id,
                listener,
                config=self._config,
                chain=self._chain,
                threads=self._files,
                emit=self._emit,
                changed=self._count,
            )
        except (Invalid, KeyError) as error:
            listener.close()
            reason = str(error) if isinstance(error, Invalid) else "the config has no such service"
            self._problems = {**self._problems, id: reason}
            self._channel.send(Configured(version=self._version, problems=self._problems))
            return
        service.accept(self._accepts)
        self._services[id] = service
        self._running[service] = self._child(self._run(id, service), f"service:{id}")

    def _unlisten(self, id: str, drain_s: float) -> None:
        # Forgotten at once: the same id may come back with another socket while the old sessions still end.
        service = self._services.pop(id, None)
        if service is not None:
            self._child(service.drain(drain_s), f"drain:{id}")

    async def _drain(self, drain_s: float) -> None:
        services = tuple(self._running)
        self._services.clear()
        await asyncio.gather(*(service.drain(drain_s) for service in services))
        running = tuple(self._running.values())
        if running:
            await asyncio.wait(running)
        self._drained.set()

    # ---- inside

    async def _run(self, id: str, service: SftpService) -> None:
        """Contain what goes wrong with one service: the others go on."""
        try:
            await service.run()
        except Exception as error:
            self._log.exception("a service failed", service=id)
            self._emit(catalogue.COMPONENT_FAILED, {"component": f"services/{id}", "reason": type(error).__name__})
        finally:
            self._running.pop(service, None)
            self._count()

    def _child(self, coroutine: Any, name: str) -> asyncio.Task[None]:
        assert self._tasks is not None
        return self._tasks.create_task(coroutine, name=name)

    def _emit(self, event: int, fields: dict[str, Any]) -> None:
        self._channel.send(Emit(event=event, fields=fields, at=time.time()))

    def _count(self) -> None:
        sessions = sum(service.sessions for service in self._running)
        if sessions != self._sessions:
            self._sessions = sessions
            self._channel.send(Load(sessions=sessions))
