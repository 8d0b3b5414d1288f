"""Content over an SSH connection as it is: every cipher, keys that change under way, bytes that are not right."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from mft.errors import Unavailable
from mft.transfers.remotes.local_content import VISIT_BYTES
from mft.transfers.remotes.sftp import SftpRemote
from mft.transfers.remotes.sftp_exchange import Lost
from mft.transfers.remotes.sftp_wire import Kind
from mft.transfers.remotes.ssh_packets import DataPackets
from tests.integration.remotes.conftest import Anybody, Place, pieces, place_at
from tests.integration.transfers.conftest import sftp_location
from tests.rig.sshd import Sshd
from tests.rig.waiting import eventually

CONTENT = os.urandom(8 * VISIT_BYTES + 77)
TIMES = 3


@asynccontextmanager
async def place_with(folder: Path, *settings: str) -> AsyncIterator[Place]:
    """Give a folder at a server with these settings."""
    server = Sshd(folder / "sshd")
    config = folder / "sshd" / "sshd_config"
    config.write_text("\n".join(settings) + "\n" + config.read_text())
    (folder / "place").mkdir()
    try:
        await server.start()
        async with place_at(sftp_location(server), folder / "place", str(folder / "place")) as place:
            yield place
    finally:
        server.kill()


async def there_and_back(place: Place, name: str) -> None:
    """Write a file and read it back."""
    halves = CONTENT[: VISIT_BYTES * 3], CONTENT[VISIT_BYTES * 3 :]
    assert await place.remote.write(place.path(name), pieces(*halves)) == len(CONTENT)
    assert (place.folder / name).read_bytes() == CONTENT
    async with place.remote.read(place.path(name)) as content:
        assert b"".join([piece async for piece in content]) == CONTENT


@pytest.mark.parametrize(
    "cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"]
)
async def test_each_cipher_and_keys_that_change(tmp_path: Path, cipher: str) -> None:
    """Goal: content is right whatever protects it. Method: the server wants new keys after each mebibyte; both ways."""
    async with place_with(tmp_path, f"Ciphers {cipher}", "RekeyLimit 1M") as place:
        async with asyncio.TaskGroup() as tasks:
            for number in range(TIMES):
                tasks.create_task(there_and_back(place, f"large-{number}"), name=f"large:{number}")
        remote = place.remote
        assert isinstance(remote, SftpRemote)
        if "gcm" in cipher:
            # Keys that change must not leave what follows to the library.
            packets: DataPackets = remote._connection.packets  # type: ignore[attr-defined]
            assert packets.received_bytes > TIMES * len(CONTENT)
        small = {f"small-{number}": CONTENT[number * 300 :][: number * 300] for number in range(100)}
        for _ in range(TIMES):
            sizes = await remote.write_whole([(place.path(name), content) for name, content in small.items()])
            assert sizes == [len(content) for content in small.values()]
            for name, content in small.items():
                assert (place.folder / name).read_bytes() == content
                (place.folder / name).unlink()


@pytest.mark.parametrize(("window", "packet"), [(32 * 1024, 32 * 1024), (64 * 1024, 4 * 1024), (100_003, 1_009)])
async def test_a_server_that_takes_little_at_a_time(
    tmp_path: Path, shared_sshd: Sshd, window: int, packet: int
) -> None:
    """Goal: content waits for room and then goes on, in order. Method: small windows, small packets, odd ones too."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    options: dict[str, Any] = {"window": window, "max_pktsize": packet, "encryption_algs": ["aes128-gcm@openssh.com"]}
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], server_factory=Anybody, sftp_factory=True, rekey_bytes="1M", **options
    )
    try:
        host_key = key.export_public_key().decode().strip()
        spec = sftp_location(shared_sshd, port=server.get_port(), host_keys=(host_key,))
        async with place_at(spec, tmp_path, str(tmp_path)) as place, asyncio.TaskGroup() as tasks:
            for number in range(TIMES):
                tasks.create_task(there_and_back(place, f"large-{number}"), name=f"large:{number}")
    finally:
        server.close()
        await server.wait_closed()


async def read_whole(remote: SftpRemote) -> None:
    """Read what is right until it ends."""
    read = b""
    async with remote.read("file") as content:
        async for piece in content:
            read += piece
            assert CONTENT.startswith(read)


@pytest.mark.parametrize("to_client", [True, False])
async def test_a_byte_that_is_not_right_ends_the_connection(tmp_path: Path, to_client: bool) -> None:
    """Goal: nobody's bytes pass for the partner's. Method: a road that changes one byte of a large file, either way."""
    server = Sshd(tmp_path / "sshd")
    (server.home / "file").write_bytes(CONTENT)
    passed = 0

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_bad: bool) -> None:
        nonlocal passed
        try:
            while data := await reader.read(65536):
                if is_bad:
                    if passed < 2 * VISIT_BYTES <= passed + len(data):
                        data = data[:-1] + bytes((data[-1] ^ 1,))
                    passed += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection(server.host, server.port)
        await asyncio.gather(carry(reader, to_there, not to_client), carry(there, writer, to_client))

    await server.start()
    try:
        async with await asyncio.start_server(connected, "127.0.0.1", 0) as road:
            port = road.sockets[0].getsockname()[1]
            remote = await SftpRemote.open(sftp_location(server, port=port))
            try:
                with pytest.raises(Unavailable):
                    await (read_whole(remote) if to_client else remote.write("new", pieces(CONTENT)))
            finally:
                await remote.close()
    finally:
        server.kill()


async def test_nothing_counts_after_what_is_wrong(tmp_path: Path, shared_sshd: Sshd) -> None:
    """Goal: the first error is the one that is told. Method: a packet that is cut off, and one more behind it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    connections: list[asyncssh.SSHServerConnection] = []

    class Noted(Anybody):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

    options: dict[str, Any] = {"server_host_keys": [key], "encryption_algs": ["aes128-gcm@openssh.com"]}
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=Noted, sftp_factory=True, **options)
    try:
        host_key = key.export_public_key().decode().strip()
        remote = await SftpRemote.open(sftp_location(shared_sshd, port=server.get_port(), host_keys=(host_key,)))
        try:
            exchange = await remote._channels.pick()
            channel: Any = exchange._channel
            number, answer = channel._recv_chan.to_bytes(4, "big"), bytes((0, 0, 0, 5, Kind.STATUS, 0, 0, 0, 99))
            sent: Any = connections[0]
            sent.send_packet(94, number + (500).to_bytes(4, "big") + b"short")
            sent.send_packet(94, number + len(answer).to_bytes(4, "big") + answer)
            await eventually(lambda: not exchange.is_open, 20, what="the end of the channel")
            assert isinstance(exchange._lost, Lost)
            assert "Incomplete packet" in str(exchange._lost)
        finally:
            await remote.close()
    finally:
        server.close()
        await server.wait_closed()
