"""Accepting, pausing, draining, and what load balancers say."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mft.events import catalogue
from mft.services.sftp import LOGGING_IN_MAX
from tests.integration.inbound.conftest import Serve
from tests.integration.inbound.harness import LIMIT_S, Inbound, reach
from tests.integration.inbound.test_uploads import connect
from tests.rig.waiting import free_port

HAPROXY = Path(".cache/servers/bin/haproxy").absolute()


async def banner(port: int, first: bytes = b"") -> bytes:
    """Connect, say `first`, and return the first line that the server says."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return b""
    try:
        writer.write(first)
        async with asyncio.timeout(LIMIT_S):
            return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_drain_lets_an_upload_finish(inbound: Inbound) -> None:
    """Goal: a roll-out cuts no upload, keeps no idle session and takes no new one. Method: one of each."""
    async with (
        connect(inbound) as busy,
        connect(inbound) as idle,
        busy.start_sftp_client() as sftp,
        asyncio.TaskGroup() as tasks,
    ):
        await reach(lambda: inbound.service.sessions == 2)
        file = await sftp.open("f", "wb")
        draining = tasks.create_task(inbound.service.drain(30), name="drain")
        async with asyncio.timeout(LIMIT_S):
            await idle.wait_closed()
        probe = socket.create_connection(("127.0.0.1", inbound.port))  # Queued by the kernel, for another worker.
        await file.write(b"all of it")
        await file.close()
        await sftp.mkdir("still here")
        async with asyncio.timeout(LIMIT_S):
            await draining
            await busy.wait_closed()
        probe.close()
    assert (inbound.home / "f").read_bytes() == b"all of it"
    assert (inbound.home / "still here").is_dir()


async def test_drain_has_an_end(inbound: Inbound) -> None:
    """Goal: a client that never closes cannot hold a drain. Method: an open upload, a short drain; nothing is left."""
    async with connect(inbound) as busy, busy.start_sftp_client() as sftp:
        await sftp.open("f", "wb")
        async with asyncio.timeout(LIMIT_S):
            await inbound.service.drain(0.2)
            await busy.wait_closed()
    await reach(lambda: os.listdir(inbound.home) == [])
    assert inbound.of(catalogue.UPLOAD_FAILED)


async def test_accept_off_leaves_connections_in_the_queue(inbound: Inbound) -> None:
    """Goal: another worker can take what this one does not. Method: off, connect, nothing; on, and it is served."""
    inbound.service.accept(False)
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(banner(inbound.port), name="asked")
        done, _ = await asyncio.wait([asked], timeout=0.3)
        assert not done
        inbound.service.accept(True)
    assert asked.result().startswith(b"SSH-2.0-MFT")


async def test_sessions_have_a_limit(serve: Serve) -> None:
    """Goal: `sessions_max` holds. Method: one allowed, the second is closed."""
    inbound = await serve(sessions_max=1)
    async with connect(inbound):
        await reach(lambda: inbound.service.sessions == 1)
        assert await banner(inbound.port) == b""
    await reach(lambda: inbound.service.sessions == 0)
    assert (await banner(inbound.port)).startswith(b"SSH-2.0-MFT")


async def test_strangers_cannot_fill_the_node(inbound: Inbound) -> None:
    """Goal: connections that have not logged in are bounded. Method: as many as allowed, then one more, then fewer."""
    strangers = []
    for _ in range(LOGGING_IN_MAX):
        reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port)
        assert (await reader.readline()).startswith(b"SSH-2.0-MFT")
        strangers.append(writer)
    assert await banner(inbound.port) == b""
    for writer in strangers:
        writer.close()
    async with asyncio.timeout(LIMIT_S):
        while not await banner(inbound.port):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.05)


V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f" + bytes((203, 0, 113, 9, 127, 0, 0, 1, 4, 210, 0, 22)) + b"\x04\0\0"
V1 = b"PROXY TCP4 203.0.113.9 127.0.0.1 1234 22\r\n"
MALFORMED = b"PROXY TCP4 203.0.113.999 127.0.0.1 1234 22\r\n"
TRUSTED = {"proxy_trusted": ("127.0.0.0/8",)}


@pytest.mark.parametrize(
    ("listener", "first", "served"),
    [
        ({"proxy_protocol": "required", **TRUSTED}, V1, True),
        ({"proxy_protocol": "required", **TRUSTED}, V2, True),
        ({"proxy_protocol": "required", **TRUSTED}, V2_LOCAL, True),
        ({"proxy_protocol": "required", **TRUSTED}, b"PROXY UNKNOWN\r\n", True),
        ({"proxy_protocol": "required", **TRUSTED}, b"SSH-2.0-x\r\n", False),
        ({"proxy_protocol": "required", **TRUSTED}, MALFORMED, False),
        ({"proxy_protocol": "required", "proxy_trusted": ("192.0.2.0/24",)}, V1, False),
        ({"proxy_protocol": "optional", **TRUSTED}, b"SSH-2.0-x\r\n", True),
        ({"proxy_protocol": "optional", **TRUSTED}, V2, True),
        ({"proxy_protocol": "optional", **TRUSTED}, MALFORMED, False),
        ({"proxy_protocol": "off"}, b"SSH-2.0-x\r\n", True),
    ],
)
async def test_proxy_headers(serve: Serve, listener: dict[str, object], first: bytes, served: bool) -> None:
    """Goal: each mode takes what it should. Method: say the header by hand, look for the SSH banner."""
    inbound = await serve(listener=listener)
    assert (await banner(inbound.port, first)).startswith(b"SSH-2.0-MFT") == served


async def test_the_header_tells_the_address(serve: Serve) -> None:
    """Goal: events show the client, not the load balancer. Method: a header, then a whole session after it."""
    inbound = await serve(listener={"proxy_protocol": "required", **TRUSTED})
    sock = socket.create_connection(("127.0.0.1", inbound.port))
    sock.sendall(V2)
    async with connect(inbound, sock=sock):
        pass
    await reach(lambda: inbound.of(catalogue.LOGIN_ACCEPTED))
    accepted = inbound.of(catalogue.LOGIN_ACCEPTED)
    assert [(fields["address"], fields["port"]) for fields in accepted] == [("203.0.113.9", 1234)]


async def test_header_in_pieces(serve: Serve) -> None:
    """Goal: the network may cut the header anywhere. Method: byte by byte."""
    inbound = await serve(listener={"proxy_protocol": "required", **TRUSTED})
    reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port)
    for byte in V1:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert (await reader.readline()).startswith(b"SSH-2.0-MFT")
    writer.close()


@pytest.fixture
async def haproxy(serve: Serve, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Inbound, int]]:
    """HAProxy before the service, with checks on, as the manual's example has it."""
    if not os.access(HAPROXY, os.X_OK):
        pytest.skip("HAProxy is not under .cache/servers (make setup fetches it)")
    inbound = await serve(listener={"proxy_protocol": "required", **TRUSTED})
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  timeout check 20s\n"
        f"frontend sftp\n  bind 127.0.0.1:{port}\n  default_backend mft\n"
        "backend mft\n  option tcp-check\n  tcp-check expect rstring ^SSH-2.0-\n"
        f"  server n1 127.0.0.1:{inbound.port} {request.param} check check-send-proxy inter 300ms fall 2 rise 1\n"
    )
    process = await asyncio.create_subprocess_exec(
        str(HAPROXY), "-db", "-f", str(tmp_path / "haproxy.cfg"), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield inbound, port
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("haproxy", ["send-proxy", "send-proxy-v2"], indirect=True)
async def test_behind_haproxy(haproxy: tuple[Inbound, int]) -> None:
    """Goal: sessions and health checks work behind the real thing, both versions. Method: a session through HAProxy."""
    inbound, port = haproxy

    async with asyncio.timeout(LIMIT_S):
        while not (await banner(port)).startswith(b"SSH-2.0-MFT"):  # noqa: ASYNC110 - HAProxy tells nobody
            await asyncio.sleep(0.05)
    ran = await inbound.sftp("put askpass", port=port)
    assert ran.status == 0, ran
    await asyncio.sleep(1)  # Some checks more, each of which must find the banner.
    assert (await banner(port)).startswith(b"SSH-2.0-MFT")
    assert len(inbound.of(catalogue.CONNECTION_OPENED)) == 1, "checks make no events"
