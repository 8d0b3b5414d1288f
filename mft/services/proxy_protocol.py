"""Who a load balancer says the client is: the PROXY protocol, versions 1 and 2.

Only addresses in `proxy_trusted` are believed. A header is looked at without being taken from the socket until it is
known to be one, so in mode `optional` a connection without any goes on untouched.

Source: HAProxy's doc/proxy-protocol.txt.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Literal, NamedTuple

from mft.errors import Denied, Invalid

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1_PREFIX = b"PROXY "
V1_BYTES_MAX = 107
V2_BYTES_MAX = 16 + 2048
"""Addresses and as many extensions (TLV) as load balancers send; they are skipped."""
DEADLINE_S = 5.0
LOOK_AGAIN_S = 0.02
"""A header cut in two by the network is rare and the rest is near."""

_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d{1,5}) (\d{1,5})")

Mode = Literal["off", "optional", "required"]


class Address(NamedTuple):
    """Where a client is."""

    host: str
    port: int


class Header(NamedTuple):
    """What stands at the beginning of a connection."""

    size_bytes: int
    """0 if it is no header."""
    source: Address | None
    """None where the load balancer speaks for itself (a health check) or does not know."""


NO_HEADER = Header(0, None)


def parse(data: bytes) -> Header | None:
    """Read the header at the beginning of `data`; None while it is incomplete. Raises Invalid for a malformed one."""
    if data[:12] == SIGNATURE:
        return _parse_v2(data)
    if data[:6] == V1_PREFIX:
        return _parse_v1(data)
    return None if SIGNATURE.startswith(data) or V1_PREFIX.startswith(data) else NO_HEADER


def _parse_v1(data: bytes) -> Header | None:
    line, end, _ = data[:V1_BYTES_MAX].partition(b"\r\n")
    if not end:
        if len(data) >= V1_BYTES_MAX:
            raise Invalid("a PROXY header of version 1 without end")
        return None
    size = len(line) + 2
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Header(size, None)
    found = _V1.fullmatch(line)
    if found is None:
        raise Invalid("a malformed PROXY header of version 1")
    family, source, destination, *ports = found.groups()
    try:
        kind = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
        host = str(kind(source.decode()))
        kind(destination.decode())
    except ValueError as error:
        raise Invalid("a PROXY header of version 1 with a malformed address") from error
    if any(int(port) > 65535 or (port[:1] == b"0" and port != b"0") for port in ports):
        raise Invalid("a PROXY header of version 1 with a malformed port")
    return Header(size, Address(host, int(ports[0])))


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < 16:
        return None
    version, command, family = data[12] >> 4, data[12] & 0x0F, data[13]
    length = int.from_bytes(data[14:16], "big")
    size = 16 + length
    if version != 2 or command > 1 or family not in (0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32):
        raise Invalid("a malformed PROXY header of version 2")
    if size > V2_BYTES_MAX:
        raise Invalid(f"a PROXY header of {size} bytes; at most {V2_BYTES_MAX} are accepted")
    if len(data) < size:
        return None
    if command == 0 or family in (0x00, 0x31, 0x32):
        return Header(size, None)
    if family in (0x12, 0x22):
        raise Invalid("a PROXY header that speaks of datagrams")
    wide = 4 if family == 0x11 else 16
    if length < 2 * wide + 4:
        raise Invalid("a PROXY header of version 2 that is too short for its addresses")
    port_at = 16 + 2 * wide
    host = str(ipaddress.ip_address(data[16 : 16 + wide]))
    return Header(size, Address(host, int.from_bytes(data[port_at : port_at + 2], "big")))


def is_trusted(host: str, trusted: Iterable[str]) -> bool:
    """Say whether the address belongs to one of the networks. An IPv4 address counts also where it came by IPv6."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network, strict=False) for network in trusted)


async def client_address(
    sock: socket.socket, peer: Address, mode: Mode, trusted: Iterable[str], deadline_s: float = DEADLINE_S
) -> Address:
    """Return whose connection this is, with any header taken off it.

    Raises Denied where a header is required and the peer may not send one or did not; Invalid for a malformed one.
    """
    if mode == "off":
        return peer
    if not is_trusted(peer.host, trusted):
        if mode == "required":
            raise Denied(f"{peer.host} is not a trusted load balancer (proxy_trusted)")
        return peer
    try:
        async with asyncio.timeout(deadline_s):
            header = await _look(sock)
    except TimeoutError:
        header = NO_HEADER
    if header == NO_HEADER and mode == "required":
        raise Denied(f"the load balancer {peer.host} sent no PROXY header within {deadline_s:g} s")
    if header.size_bytes:
        sock.recv(header.size_bytes)  # It has been seen whole, so it comes whole.
    return header.source or peer


async def _look(sock: socket.socket) -> Header:
    while True:
        await _readable(sock)
        data = sock.recv(V2_BYTES_MAX, socket.MSG_PEEK)
        if not data:
            return NO_HEADER
        header = parse(data)
        if header is not None:
            return header
        await asyncio.sleep(LOOK_AGAIN_S)


async def _readable(sock: socket.socket) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)
