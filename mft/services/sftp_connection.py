"""One TCP connection of the SFTP service, from the load balancer's word to the end of the session."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import asyncssh
import structlog

from mft.aio import Latest, Threads
from mft.auth.chain import Accepted, Chain, Rejected
from mft.errors import Denied, Invalid
from mft.events import catalogue
from mft.model.config import Config
from mft.model.services import SftpServiceSpec
from mft.services.proxy_protocol import Address, client_address
from mft.services.session import Emit, Origin, Session, open_home
from mft.services.sftp_channel import SftpChannel
from mft.services.sftp_login import Login
from mft.services.sftp_options import host_keys

CHANNELS_MAX = 10
"""SFTP channels of one connection, as OpenSSH's MaxSessions."""

_WORDS: Mapping[str, str] = {
    "unknown": "there is no such account",
    "disabled": "the account is disabled",
    "credential": "the password or key does not fit",
}


class Surroundings(NamedTuple):
    """What all connections of a service share."""

    service: str
    config: Latest[Config]
    chain: Chain
    threads: Threads
    emit: Emit
    options: asyncssh.SSHServerConnectionOptions
    host_keys: tuple[asyncssh.SSHKey, ...]
    logged_in: Callable[[], None]
    """Called when a session begins or ends."""


class SftpConnection:
    """Runs one connection. Its session, if the client logs in, ends with it."""

    def __init__(self, around: Surroundings, spec: SftpServiceSpec, sock: socket.socket, peer: Address) -> None:
        """Take over `sock`."""
        self._log = structlog.get_logger()
        self._around = around
        self._spec = spec
        self._sock = sock
        self._peer = peer
        self._address = peer
        self._ssh: asyncssh.SSHServerConnection | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._channels = 0
        self._login: Login | None = None
        self._is_noted = False
        self._refused: tuple[str, Rejected] | None = None
        self._active_at = 0.0
        self.session: Session | None = None
        self.username = ""

    @property
    def idle_s(self) -> float:
        """Seconds since the last request."""
        return asyncio.get_running_loop().time() - self._active_at

    async def run(self) -> None:
        """Serve until either side ends. Whatever a client does is contained here."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._run()
        except Exception:
            self._log.exception("a fault of ours ended the connection", address=self._address.host)
        finally:
            await self._end()

    async def _run(self) -> None:
        listener = self._spec.listener
        try:
            async with asyncio.timeout(self._spec.login_timeout_s):
                self._address = await client_address(
                    self._sock, self._peer, listener.proxy_protocol, listener.proxy_trusted
                )
                self._ssh = await self._log_in()
        except (TimeoutError, OSError, asyncssh.Error, Invalid, Denied) as error:
            self._log.debug("no login", address=self._address.host, reason=str(error) or type(error).__name__)
        else:
            await self._ssh.wait_closed()

    async def _log_in(self) -> asyncssh.SSHServerConnection:
        try:
            return await asyncssh.run_server(
                self._sock,
                config=None,
                options=self._around.options,
                server_host_keys=host_keys(self._around.host_keys, self._spec.listener.algorithms),
                server_factory=self._new_login,
            )
        except BaseException:
            if self._login is None:
                self._sock.close()
            elif self._sock.fileno() != -1:
                # The transport has closed the descriptor; closing it through this object too would hit a stranger's.
                self._sock.detach()
            raise

    def _new_login(self) -> Login:
        self._login = Login(
            chain=self._around.chain,
            banner=self._spec.banner,
            begin=self._begin,
            rejected=self._rejected,
            enter=self._enter,
            channel=self._new_channel,
        )
        return self._login

    def _begin(self) -> None:
        # Not before: load balancers open and close connections all day to see whether we live.
        self._is_noted = True
        self._note(catalogue.CONNECTION_OPENED)

    async def _enter(self, accepted: Accepted) -> None:
        """Begin the session of who has logged in."""
        origin = Origin(accepted.username, self._around.service, "sftp", self._address.host, self._address.port)
        self._refused = None
        self.username = accepted.username
        umask = int(self._around.config.value.server.umask, 8)
        home = await open_home(accepted.account, umask, self._around.threads)
        self._note(catalogue.LOGIN_ACCEPTED, account=accepted.username, method=accepted.method)
        self.session = Session(origin, home, self._around.threads, self._around.emit, self._spec.uploads)
        self.touch()
        self._around.logged_in()

    def _rejected(self, username: str, why: Rejected, by_password: bool) -> None:
        # A client offers all its keys before it asks for a password; that alone is no attempt to break in.
        if by_password:
            self._note_rejected(username, why)
        else:
            self._refused = (username, why)

    def _note_rejected(self, username: str, why: Rejected) -> None:
        event = {"unknown": catalogue.ACCOUNT_UNKNOWN, "disabled": catalogue.LOGIN_FORBIDDEN}.get(
            why.reason, catalogue.LOGIN_REJECTED
        )
        self._note(event, account=username, reason=_WORDS[why.reason])

    def _new_channel(self) -> SftpChannel | None:
        if self.session is None or self._channels >= CHANNELS_MAX:
            return None
        self._channels += 1
        return SftpChannel(self.session, self._channel_started, self.touch, self._channel_ended)

    def _channel_started(self, channel: SftpChannel) -> None:
        assert self._tasks is not None
        self._tasks.create_task(channel.run(), name=f"sftp:{self.username}:{self._channels}")

    def _channel_ended(self) -> None:
        self._channels -= 1

    def touch(self) -> None:
        """Note that the client is alive and asking."""
        self._active_at = asyncio.get_running_loop().time()

    def disconnect(self, text: str) -> None:
        """Tell the client why, and end."""
        if self._ssh is not None:
            self._ssh.disconnect(asyncssh.DISC_BY_APPLICATION, text)

    def abort(self) -> None:
        """End at once."""
        if self._ssh is not None:
            self._ssh.abort()

    async def _end(self) -> None:
        if self._login is None:
            self._sock.close()
        if self._ssh is not None:
            self._ssh.abort()
        if self._refused is not None:
            self._note_rejected(*self._refused)
        session, self.session = self.session, None
        if session is not None:
            await session.end()
            self._around.logged_in()
        if self._is_noted:
            self._note(catalogue.CONNECTION_CLOSED, account=self.username)

    def _note(self, event: int, **fields: Any) -> None:
        self._around.emit(
            event,
            {
                "service": self._around.service,
                "protocol": "sftp",
                "address": self._address.host,
                "port": self._address.port,
                **fields,
            },
        )
