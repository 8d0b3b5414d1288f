"""Partners behind a proxy: SOCKS 5 and HTTP CONNECT, with and without a login, against small real proxies."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from mft.errors import Denied, Invalid, MftError, Unavailable
from mft.model.locations import ProxySpec
from mft.transfers.remotes.sftp import SftpRemote
from tests.integration.remotes.conftest import pieces
from tests.integration.transfers.conftest import sftp_location
from tests.rig.sshd import Sshd
from tests.rig.waiting import eventually, free_port

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LOGIN = ("proxy-user", "proxy-päss")


class Proxy:
    """A proxy of one kind, which asks for a login if it is given one."""

    def __init__(self, kind: Literal["socks5", "http"], login: tuple[str, str] | None) -> None:
        self.kind = kind
        self.login = login
        self.asked: list[tuple[str, int]] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client to its end."""
        talk = self._socks if self.kind == "socks5" else self._http
        try:
            if (target := await talk(reader, writer)) is not None:
                await _relay((reader, writer), target)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            await _closed(writer)

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        _, count = await reader.readexactly(2)
        method = 2 if self.login else 0
        if method not in await reader.readexactly(count):
            writer.write(b"\x05\xff")
            return None
        writer.write(bytes((5, method)))
        if self.login:
            _, size = await reader.readexactly(2)
            name = (await reader.readexactly(size)).decode()
            password = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
            writer.write(b"\x01" + (b"\x00" if (name, password) == self.login else b"\x01"))
            if (name, password) != self.login:
                return None
        _, _, _, kind = await reader.readexactly(4)
        if kind == 1:
            host = ".".join(str(part) for part in await reader.readexactly(4))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        return await self._reach(writer, host, port, b"\x05\x00\x00\x01\0\0\0\0\0\0", b"\x05\x05\x00\x01\0\0\0\0\0\0")

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        host, port = head.split(" ")[1].rsplit(":", 1)
        given = [line for line in head.split("\r\n") if line.startswith("Proxy-Authorization: ")]
        if self.login:
            wanted = base64.b64encode(":".join(self.login).encode()).decode()
            if given != [f"Proxy-Authorization: Basic {wanted}"]:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return None
        return await self._reach(
            writer, host, int(port), b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n", b"HTTP/1.1 502 Bad Gateway\r\n\r\n"
        )

    async def _reach(self, writer: asyncio.StreamWriter, host: str, port: int, yes: bytes, no: bytes) -> Streams | None:
        self.asked.append((host, port))
        try:
            target = await asyncio.open_connection(host, port)
        except OSError:
            writer.write(no)
            return None
        # Together with the partner's greeting, as a quick proxy does: a client must not read past the answer.
        writer.write(yes + await target[0].readuntil(b"\n"))
        return target


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass


async def _relay(client: Streams, target: Streams) -> None:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            await _closed(writer)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(copy(client[0], target[1]), name="up")
        tasks.create_task(copy(target[0], client[1]), name="down")


@asynccontextmanager
async def serving(handle: Callable[..., Awaitable[None]]) -> AsyncIterator[int]:
    """Serve on a free port, whose number is given, until the block is left."""
    under_way = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way
        under_way += 1
        try:
            await handle(reader, writer)
        finally:
            under_way -= 1

    server = await asyncio.start_server(counted, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
    await eventually(lambda: not under_way, what="the proxy's connections have ended")


def through(sshd: Sshd, kind: Literal["socks5", "http"], port: int, **proxy: Any) -> Any:
    return sftp_location(
        sshd, connect_timeout_s=10.0, proxy=ProxySpec(kind=kind, address="127.0.0.1", port=port, **proxy)
    )


@pytest.mark.parametrize("kind", ["socks5", "http"])
@pytest.mark.parametrize("login", [None, LOGIN], ids=["open", "login"])
@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
async def test_a_partner_behind_a_proxy(
    shared_sshd: Sshd, tmp_path: Path, kind: Literal["socks5", "http"], login: tuple[str, str] | None, address: str
) -> None:
    """Goal: a proxy changes the way, nothing else. Method: write and read through it; by address and by name."""
    proxy = Proxy(kind, login)
    async with serving(proxy.handle) as port:
        fields = {"username": login[0], "password": login[1]} if login else {}
        spec = through(shared_sshd, kind, port, **fields)
        spec = type(spec)(**{name: getattr(spec, name) for name in spec.__struct_fields__} | {"address": address})
        remote = await SftpRemote.open(spec)
        try:
            content = b"x" * 300_000
            assert await remote.write(str(tmp_path / "file"), pieces(content)) == len(content)
            async with remote.read(str(tmp_path / "file")) as reading:
                assert b"".join([piece async for piece in reading]) == content
        finally:
            await remote.close()
    assert proxy.asked == [(address, shared_sshd.port)]


@pytest.mark.parametrize("kind", ["socks5", "http"])
async def test_what_a_proxy_refuses(shared_sshd: Sshd, kind: Literal["socks5", "http"]) -> None:
    """Goal: login, outage and configuration are told apart. Method: a wrong login, none, no partner, no proxy."""

    async def failing(spec: Any) -> MftError:
        with pytest.raises(MftError) as caught:
            await SftpRemote.open(spec)
        assert "wrong-secret" not in str(caught.value)
        return caught.value

    async with serving(Proxy(kind, LOGIN).handle) as port:
        wrong = through(shared_sshd, kind, port, username=LOGIN[0], password="wrong-secret")
        assert isinstance(await failing(wrong), Denied)
        assert isinstance(await failing(through(shared_sshd, kind, port)), Denied)
    async with serving(Proxy(kind, None).handle) as port:
        gone = through(shared_sshd, kind, port)
        gone = type(gone)(**{name: getattr(gone, name) for name in gone.__struct_fields__} | {"port": free_port()})
        assert type(await failing(gone)) is Unavailable
    assert type(await failing(through(shared_sshd, kind, free_port()))) is Unavailable
    # A partner's SSH server in place of a proxy.
    assert isinstance(await failing(through(shared_sshd, kind, shared_sshd.port)), Invalid)
