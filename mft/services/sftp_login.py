"""Who may come in: asks the chain for each credential that an SSH client offers, and counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncssh

from mft.auth.chain import Accepted, Chain, Credential, Password, PublicKey, Rejected
from mft.errors import Unavailable
from mft.services.sftp_channel import SftpChannel

TRIES_MAX = 6
"""Credentials refused on one connection before it ends, as OpenSSH counts: keys and passwords together."""


class Login(asyncssh.SSHServer):
    """One connection's owner in asyncssh's eyes. Passwords also by keyboard-interactive, which asyncssh maps."""

    def __init__(
        self,
        *,
        chain: Chain,
        banner: str,
        begin: Callable[[], None],
        rejected: Callable[[str, Rejected, bool], None],
        enter: Callable[[Accepted], Awaitable[None]],
        channel: Callable[[], SftpChannel | None],
    ) -> None:
        """Keep whom to call.

        `begin` when a client tries to log in, `rejected(username, why, by_password)` at each refusal, `enter` after
        the login, and `channel` for each channel.
        """
        self._chain = chain
        self._banner = banner
        self._begin: Callable[[], None] | None = begin
        self._rejected = rejected
        self._enter = enter
        self._new_channel = channel
        self._accepted: Accepted | None = None
        self._tries = 0
        self._entered = asyncio.Event()
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection."""
        self._connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go who waits for the session: there will be none."""
        self._entered.set()

    def begin_auth(self, username: str) -> bool:
        """Show the banner once; everybody has to authenticate."""
        begin, self._begin = self._begin, None
        if begin is not None:  # asyncssh asks again for each name that a client tries.
            begin()
        if self._banner and self._connection is not None:
            self._connection.send_auth_banner(self._banner.rstrip("\n") + "\n")
            self._banner = ""
        return True

    def password_auth_supported(self) -> bool:
        """Passwords are asked for whether or not the account has one: the answer must not tell."""
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys are asked for too."""
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        """Ask the chain."""
        return await self._ask(Password(username, password))

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Ask the chain; asyncssh checks the signature."""
        return await self._ask(PublicKey(username, key.public_data))

    async def auth_completed(self) -> None:
        """Open the session of who has proven to be somebody."""
        accepted, connection = self._accepted, self._connection
        assert connection is not None
        # A key may have been accepted for one name and a password for another: only the name that asyncssh ended with
        # counts, and it must be the last that we accepted.
        if accepted is None or accepted.username != connection.get_extra_info("username"):
            raise asyncssh.DisconnectError(asyncssh.DISC_PROTOCOL_ERROR, "Authentication failed")
        try:
            await self._enter(accepted)
        except Unavailable as error:
            raise asyncssh.DisconnectError(
                asyncssh.DISC_BY_APPLICATION, "The account's files are not available at the moment; try again later"
            ) from error
        self._entered.set()

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], Awaitable[SftpChannel]]:
        """Open one more channel, once the session is there: a client knows that it is in before we have opened it."""
        assert self._connection is not None
        return self._connection.create_server_channel(encoding=None), self._open_channel()

    async def _open_channel(self) -> SftpChannel:
        await self._entered.wait()
        channel = self._new_channel()
        if channel is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "Too many channels")
        return channel

    async def _ask(self, credential: Credential) -> bool:
        self._tries += 1
        if self._tries > TRIES_MAX:
            raise asyncssh.DisconnectError(asyncssh.DISC_PROTOCOL_ERROR, "Too many authentication failures")
        try:
            decision = await self._chain.authenticate(credential)
        except Unavailable as error:
            # Neither yes nor no: a client must not believe that its password is wrong.
            raise asyncssh.DisconnectError(
                asyncssh.DISC_SERVICE_NOT_AVAILABLE, "Authentication is not available at the moment; try again later"
            ) from error
        if isinstance(decision, Accepted):
            self._tries -= 1
            self._accepted = decision
            return True
        self._rejected(credential.username, decision, isinstance(credential, Password))
        return False
