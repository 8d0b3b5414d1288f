"""Who gets in, who does not, and what either can learn from it."""

from __future__ import annotations

import asyncio
import time

import asyncssh
import msgspec
import pytest

from mft.events import catalogue
from mft.model.accounts import AccountSpec
from tests.integration.inbound.conftest import Serve
from tests.integration.inbound.harness import LIMIT_S, PASSWORD, Inbound, reach
from tests.integration.inbound.test_uploads import connect


def _told(errors: str, user: str) -> list[str]:
    """Return what the server made the client say; that the connection is closed sftp says once or twice."""
    lines = [line.strip() for line in errors.replace(user, "X").splitlines()]
    return [line for line in lines if line and not line.startswith("Connection closed")]


async def test_wrong_password_and_unknown_user_look_the_same(inbound: Inbound) -> None:
    """Goal: nobody learns which names exist. Method: words and time of both, from OpenSSH's sftp."""
    once = ("-o", "PreferredAuthentications=password")
    wrong = await inbound.sftp("pwd", key=False, password="wrong", options=once)
    unknown = await inbound.sftp("pwd", key=False, user="nobody", options=once)
    assert wrong.status == unknown.status == 255
    assert _told(wrong.err, "ann") == _told(unknown.err, "nobody")
    assert "Permission denied" in wrong.err
    await reach(lambda: inbound.service.sessions == 0)
    assert len(inbound.of(catalogue.LOGIN_REJECTED)) == 1
    assert len(inbound.of(catalogue.ACCOUNT_UNKNOWN)) == 1


async def test_disabled_accounts_stay_out(inbound: Inbound) -> None:
    """Goal: a disabled account cannot log in, and its home is not even made. Method: the right password."""
    once = ("-o", "PreferredAuthentications=password")
    ran = await inbound.sftp("pwd", key=False, user="off", options=once)
    assert ran.status == 255
    assert len(inbound.of(catalogue.LOGIN_FORBIDDEN)) == 1
    assert not (inbound.folder / "home" / "off").exists()


async def test_six_tries_and_no_more(inbound: Inbound) -> None:
    """Goal: guessing is slow. Method: a client that tries password after password on one connection."""
    tried = 0

    class Guesser(asyncssh.SSHClient):
        def password_auth_requested(self) -> str:
            nonlocal tried
            tried += 1
            return f"guess {tried}"

    with pytest.raises(asyncssh.DisconnectError, match="Too many"):
        await asyncssh.connect(
            "127.0.0.1",
            inbound.port,
            username="ann",
            known_hosts=None,
            client_keys=None,
            config=None,
            client_factory=Guesser,
            preferred_auth="password",
        )
    assert tried == 7
    assert len(inbound.of(catalogue.LOGIN_REJECTED)) == 6


async def test_many_keys_then_a_password_is_one_quiet_login(inbound: Inbound) -> None:
    """Goal: an agent full of keys raises no alarm. Method: four strange keys, then the right password."""
    strange = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(4)]
    async with asyncssh.connect(
        "127.0.0.1",
        inbound.port,
        username="ann",
        password=PASSWORD,
        known_hosts=None,
        client_keys=strange,
        agent_path=None,
        config=None,
    ):
        pass
    assert not inbound.of(catalogue.LOGIN_REJECTED)
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            "127.0.0.1",
            inbound.port,
            username="ann",
            known_hosts=None,
            client_keys=strange[:1],
            agent_path=None,
            config=None,
        )
    await reach(lambda: len(inbound.of(catalogue.LOGIN_REJECTED)) == 1)


async def test_a_key_of_one_account_opens_no_other(inbound: Inbound) -> None:
    """Goal: a key belongs to its account. Method: ann's key, another's name."""
    accounts = {**inbound.config.value.accounts, "bob": AccountSpec(home_folder_path=str(inbound.folder / "bob"))}
    inbound.config.set(msgspec.structs.replace(inbound.config.value, accounts=accounts))
    assert (await inbound.sftp("pwd", user="bob")).status == 255
    assert (await inbound.sftp("pwd", user="ann")).status == 0


async def test_changes_of_accounts_are_live(inbound: Inbound) -> None:
    """Goal: the next login uses the new config, open sessions go on; a removed account's are ended. Method: change."""
    async with connect(inbound) as connection, connection.start_sftp_client() as sftp:
        old = inbound.config.value
        moved = msgspec.structs.replace(old.accounts["ann"], home_folder_path=str(inbound.folder / "moved"))
        inbound.config.set(msgspec.structs.replace(old, accounts={"ann": moved}))
        await sftp.mkdir("in-the-old-home")
        assert (inbound.home / "in-the-old-home").is_dir()
        assert (await inbound.sftp("mkdir x")).status == 0
        assert (inbound.folder / "moved" / "x").is_dir()
        inbound.config.set(msgspec.structs.replace(old, accounts={}))
        async with asyncio.timeout(LIMIT_S):
            await connection.wait_closed()
    await reach(lambda: inbound.service.sessions == 0)


async def test_idle_sessions_end(serve: Serve) -> None:
    """Goal: nobody holds a session for nothing. Method: a short limit, and a client that does nothing."""
    inbound = await serve(idle_timeout_s=0.5)
    async with connect(inbound) as connection:
        async with asyncio.timeout(LIMIT_S):
            await connection.wait_closed()
    await reach(lambda: inbound.service.sessions == 0)


async def test_who_does_not_log_in_is_cut_off(serve: Serve) -> None:
    """Goal: connections that say nothing do not pile up. Method: connect, read the banner, wait."""
    inbound = await serve(login_timeout_s=0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port)
    started = time.monotonic()
    assert (await reader.readline()).startswith(b"SSH-2.0-MFT")
    await reader.read()
    assert time.monotonic() - started < LIMIT_S
    writer.close()
    await writer.wait_closed()
    assert not inbound.events, "health checks and scanners make no events"


async def test_garbage_ends_only_itself(inbound: Inbound) -> None:
    """Goal: no bytes before or after the login hurt anybody else. Method: garbage on both, then a good session."""
    reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n" * 100)
    await reader.read()
    writer.close()
    async with connect(inbound) as connection:
        for garbage in (b"\xff" * 1000, b"\0\0\0\0", b"\0\0\0\5\3\0\0\0\1", b"\0\0\0\5\1\0\0\0\3\0\0\0\2\3\3"):
            _, session = await connection.create_session(Collector, subsystem="sftp", encoding=None)
            session.channel.write(garbage)
            session.channel.write_eof()
            await session.closed.wait()
        async with connection.start_sftp_client() as sftp:
            assert await sftp.getcwd() == "/"
    await reach(lambda: inbound.service.sessions == 0)


class Collector(asyncssh.SSHClientSession[bytes]):
    """A channel that takes what comes."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.received = b""

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:  # noqa: D102
        self.channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:  # noqa: D102
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self.closed.set()


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
@pytest.mark.parametrize(
    "options",
    [
        ("-o", "MACs=hmac-sha1", "-o", "Ciphers=aes128-ctr"),
        ("-o", "KexAlgorithms=diffie-hellman-group14-sha1"),
        ("-o", "HostKeyAlgorithms=ssh-rsa"),
    ],
)
async def test_old_algorithms_only_where_asked_for(serve: Serve, options: tuple[str, ...]) -> None:
    """Goal: SHA-1 is off, and can be had for old appliances. Method: a client that knows nothing else, both ways."""
    inbound = await serve(listener={"algorithms": "legacy"})
    assert (await inbound.sftp("pwd", options=options)).status == 0


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
@pytest.mark.parametrize(
    "options",
    [
        ("-o", "MACs=hmac-sha1", "-o", "Ciphers=aes128-ctr"),
        ("-o", "KexAlgorithms=diffie-hellman-group14-sha1"),
        ("-o", "HostKeyAlgorithms=ssh-rsa"),
    ],
)
async def test_old_algorithms_are_refused(inbound: Inbound, options: tuple[str, ...]) -> None:
    """Goal: SHA-1 is off by default. Method: a client that knows nothing else."""
    assert (await inbound.sftp("pwd", options=options)).status == 255


@pytest.mark.parametrize(
    "option", ["HostKeyAlgorithms=rsa-sha2-256", "HostKeyAlgorithms=ecdsa-sha2-nistp256", "Ciphers=aes256-ctr"]
)
async def test_every_kind_of_host_key(inbound: Inbound, option: str) -> None:
    """Goal: old and new clients find a host key and a cipher. Method: one option each."""
    assert (await inbound.sftp("pwd", options=("-o", option))).status == 0
