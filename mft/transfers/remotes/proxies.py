"""The way to a partner through a proxy: SOCKS version 5 (RFC 1928, login by RFC 1929) and HTTP CONNECT (RFC 9110)."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Mapping

from mft.errors import Denied, Invalid, Unavailable
from mft.model.locations import ProxySpec

_HEAD_BYTES_MAX = 16 * 1024
"""Bytes of an HTTP proxy's answer; more is no answer to CONNECT."""
_SOCKS_REASONS: Mapping[int, str] = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "it cannot connect",
    8: "it does not know this kind of address",
}


async def open_through(proxy: ProxySpec, address: str, port: int) -> socket.socket:
    """Return a socket on which the partner itself speaks next. The caller bounds the time.

    Raises:
        Denied: the proxy refuses the login, or this destination.
        Invalid: what answers is no such proxy.
        Unavailable: proxy or partner cannot be reached.
    """
    loop = asyncio.get_running_loop()
    sock = await _connect(proxy, loop)
    try:
        if proxy.kind == "socks5":
            await _socks5(_Talk(sock, loop, proxy), proxy, address, port)
        else:
            await _http(_Talk(sock, loop, proxy), proxy, address, port)
    except BaseException:
        sock.close()
        raise
    return sock


class _Talk:
    """Bytes to and from the proxy. Never reads past its answer: what follows is the partner's."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop, proxy: ProxySpec) -> None:
        self._sock = sock
        self._loop = loop
        self.name = f"the proxy {proxy.address}:{proxy.port}"

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        try:
            await self._loop.sock_sendall(self._sock, data)
        except OSError as error:
            raise Unavailable(f"{self.name} closed the connection") from error

    async def receive(self, size_bytes: int) -> bytes:
        """Receive just so many bytes."""
        data = b""
        while len(data) < size_bytes:
            try:
                more = await self._loop.sock_recv(self._sock, size_bytes - len(data))
            except OSError as error:
                raise Unavailable(f"{self.name} closed the connection") from error
            if not more:
                raise Unavailable(f"{self.name} closed the connection")
            data += more
        return data


async def _connect(proxy: ProxySpec, loop: asyncio.AbstractEventLoop) -> socket.socket:
    error: OSError = OSError("its name has no address")
    try:
        found = await loop.getaddrinfo(proxy.address, proxy.port, type=socket.SOCK_STREAM)
    except OSError as failure:
        raise Unavailable(f"cannot find the proxy {proxy.address}: {failure.strerror}") from failure
    for family, kind, number, _, place in found:
        sock = socket.socket(family, kind, number)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, place)
        except OSError as failure:
            sock.close()
            error = failure
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise Unavailable(f"cannot reach the proxy {proxy.address}:{proxy.port}: {error.strerror or error}") from error


async def _socks5(talk: _Talk, proxy: ProxySpec, address: str, port: int) -> None:
    method = 2 if proxy.username else 0
    await talk.send(bytes((5, 1, method)))
    version, chosen = await talk.receive(2)
    if version != 5:
        raise Invalid(f"{talk.name} does not speak SOCKS 5")
    if chosen != method:
        wants = "accepts no login by password" if proxy.username else "wants a login"
        raise Denied(f"{talk.name} {wants}")
    if method == 2:
        name, password = proxy.username.encode(), (proxy.password or "").encode()
        if len(name) > 255 or len(password) > 255:
            raise Invalid(f"{talk.name}: username and password may have 255 bytes each")
        await talk.send(bytes((1, len(name))) + name + bytes((len(password),)) + password)
        if (await talk.receive(2))[1] != 0:
            raise Denied(f"{talk.name} refuses the login of {proxy.username}")
    await talk.send(bytes((5, 1, 0)) + _socks_address(address) + port.to_bytes(2, "big"))
    version, answer, _, kind = await talk.receive(4)
    if version != 5:
        raise Invalid(f"{talk.name} does not speak SOCKS 5")
    if answer:
        reason = _SOCKS_REASONS.get(answer, f"answer {answer}")
        raise (Denied if answer == 2 else Unavailable)(f"{talk.name} does not connect to {address}:{port}: {reason}")
    size_bytes = {1: 4, 4: 16}.get(kind)
    if size_bytes is None:
        size_bytes = (await talk.receive(1))[0]
    await talk.receive(size_bytes + 2)


def _socks_address(address: str) -> bytes:
    try:
        literal = ipaddress.ip_address(address)
    except ValueError:
        name = address.encode("idna") if not address.isascii() else address.encode()
        if len(name) > 255:
            raise Invalid(f"{address} is too long for a name") from None
        return bytes((3, len(name))) + name
    return bytes((1 if literal.version == 4 else 4,)) + literal.packed


async def _http(talk: _Talk, proxy: ProxySpec, address: str, port: int) -> None:
    host = f"[{address}]" if ":" in address else address
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if proxy.username:
        login = base64.b64encode(f"{proxy.username}:{proxy.password or ''}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {login}")
    await talk.send("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte: the partner's greeting follows at once, and must stay in the socket.
        head += await talk.receive(1)
        if len(head) > _HEAD_BYTES_MAX or not head.startswith(b"HTTP/"[: len(head)]):
            raise Invalid(f"{talk.name} does not speak HTTP")
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    status = words[1] if len(words) > 1 else ""
    if status.startswith("2"):
        return
    if status == "407":
        raise Denied(f"{talk.name} refuses the login" if proxy.username else f"{talk.name} wants a login")
    error = Denied if status in ("401", "403") else Unavailable
    raise error(f"{talk.name} does not connect to {address}:{port}: {' '.join(words[1:])}")
