"""The SFTP service: accepts connections on a socket that it is given, pauses, and drains."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog

from mft.aio import Latest, Threads
from mft.auth.chain import Chain
from mft.model.config import Config
from mft.model.services import SftpServiceSpec
from mft.services.proxy_protocol import Address
from mft.services.session import Emit
from mft.services.sftp_connection import SftpConnection, Surroundings
from mft.services.sftp_options import load_host_keys, ssh_options

LOGGING_IN_MAX = 100
"""Connections at one time that have not logged in: above it new ones are closed, so strangers cannot fill the node."""

LOOK_S = 1.0
"""How often sessions are looked through for idle ones and for accounts that are gone."""

DRAIN_LOOK_S = 0.1
DRAIN_IDLE_S = 1.0
"""A session that has no file open and has asked nothing for this long loses nothing when it is ended."""

ACCEPT_PAUSE_S = 1.0
"""Wait when the process has no descriptor left; connections stay in the kernel's queue meanwhile."""


class SftpService:
    """One listener's sessions in this process. Many processes may accept from the same socket."""

    def __init__(
        self,
        id: str,
        listener: socket.socket,
        *,
        config: Latest[Config],
        chain: Chain,
        threads: Threads,
        emit: Emit,
        changed: Callable[[], None],
    ) -> None:
        """Take over `listener`; call `changed` when `sessions` has. Raises Invalid for keys that cannot be used."""
        spec = config.value.services[id]
        self._log = structlog.get_logger()
        self._id = id
        self._listener = listener
        self._listener.setblocking(False)
        self._config = config
        keys = load_host_keys(spec.listener)
        options = ssh_options(keys, spec.listener.algorithms)
        self._around = Surroundings(id, config, chain, threads, emit, options, keys, changed)
        self._spec = spec
        self._connections: set[SftpConnection] = set()
        self._accepts = Latest(True)
        self._draining = False
        self._drained = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def sessions(self) -> int:
        """Logged-in clients."""
        return sum(connection.session is not None for connection in self._connections)

    def accept(self, on: bool) -> None:
        """Take new connections, or leave them in the queue to other workers. Takes effect at once."""
        self._accepts.set(on and not self._draining)

    async def run(self) -> None:
        """Serve until cancelled or drained; all connections have ended then, and the listener is closed."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                accepting = tasks.create_task(self._accept(), name=f"accept:{self._id}")
                looking = tasks.create_task(self._look_through(), name=f"look:{self._id}")
                await self._drained.wait()
                accepting.cancel()
                looking.cancel()
        finally:
            self._listener.close()

    async def drain(self, drain_s: float) -> None:
        """Stop accepting; let open files be finished for `drain_s`, then end every session. `run` then returns."""
        self._draining = True
        self._accepts.set(False)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain_s
        while self._connections and loop.time() < deadline:
            for connection in tuple(self._connections):
                session = connection.session
                if session is not None and not session.is_busy and connection.idle_s > DRAIN_IDLE_S:
                    connection.disconnect("the server is restarting; connect again")
            await asyncio.sleep(DRAIN_LOOK_S)
        for connection in tuple(self._connections):
            connection.disconnect("the server is restarting; connect again")
        self._drained.set()
        await asyncio.sleep(DRAIN_LOOK_S)  # So that the words above get out.
        for connection in tuple(self._connections):
            connection.abort()

    # ---- accepting

    async def _accept(self) -> None:
        """Accept while it is on. By hand on the readable socket, because a cancelled `sock_accept` may lose one."""
        loop = asyncio.get_running_loop()
        try:
            async for on in self._accepts.follow():
                if on:
                    loop.add_reader(self._listener, self._accept_one)
                else:
                    loop.remove_reader(self._listener)
        finally:
            loop.remove_reader(self._listener)

    def _accept_one(self) -> None:
        try:
            sock, address = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # Another worker was faster, or the client has gone.
        except OSError as error:
            self._log.error("cannot accept", service=self._id, reason=str(error))
            self._pause()
            return
        sock.setblocking(False)
        if self._is_full():
            sock.close()
            return
        spec = self._config.value.services.get(self._id, self._spec)
        # What the listener is stays as it was when it began; all else is read anew at each login.
        spec = SftpServiceSpec(
            listener=self._spec.listener,
            login_timeout_s=spec.login_timeout_s,
            banner=spec.banner,
            uploads=spec.uploads,
        )
        connection = SftpConnection(self._around, spec, sock, Address(str(address[0]), int(address[1])))
        self._connections.add(connection)
        assert self._tasks is not None
        task = self._tasks.create_task(connection.run(), name=f"connection:{self._id}:{address[0]}:{address[1]}")
        task.add_done_callback(lambda _: self._connections.discard(connection))

    def _is_full(self) -> bool:
        sessions = self.sessions
        spec = self._config.value.services.get(self._id, self._spec)
        return sessions >= spec.sessions_max or len(self._connections) - sessions >= LOGGING_IN_MAX

    def _pause(self) -> None:
        assert self._tasks is not None
        asyncio.get_running_loop().remove_reader(self._listener)
        self._tasks.create_task(self._go_on(), name=f"pause:{self._id}")

    async def _go_on(self) -> None:
        await asyncio.sleep(ACCEPT_PAUSE_S)
        self._accepts.set(self._accepts.value)

    # ---- what ends sessions

    async def _look_through(self) -> None:
        """End sessions that are idle, and at once those of accounts that the config no longer lets in."""
        async for config in self._config.follow(every_s=LOOK_S):
            spec = config.services.get(self._id, self._spec)
            for connection in tuple(self._connections):
                if connection.session is None:
                    continue
                account = config.accounts.get(connection.username)
                if account is None or not account.enabled:
                    connection.disconnect("the account is no longer active")
                elif connection.idle_s > spec.idle_timeout_s:
                    connection.disconnect("the session was idle for too long")
