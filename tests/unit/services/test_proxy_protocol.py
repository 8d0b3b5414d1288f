"""The PROXY header's parser: every header that a load balancer may send, and everything else that may come."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mft.errors import Invalid
from mft.services.proxy_protocol import NO_HEADER, SIGNATURE, V2_BYTES_MAX, Address, Header, is_trusted, parse

ports = st.integers(0, 65535)
tails = st.binary(max_size=40)


@given(st.ip_addresses(), ports, ports, tails, st.data())
def test_version_1(host: ipaddress.IPv4Address, port: int, other: int, tail: bytes, data: st.DataObject) -> None:
    """Goal: any address is read, and nothing of what follows. Method: write a header, read it, cut anywhere."""
    to = data.draw(st.ip_addresses(v=host.version))
    line = f"PROXY TCP{4 if host.version == 4 else 6} {host} {to} {port} {other}\r\n".encode()
    assert parse(line + tail) == Header(len(line), Address(str(host), port))
    assert parse(line[: data.draw(st.integers(0, len(line) - 1))]) is None


@given(st.ip_addresses(), ports, st.binary(max_size=300), tails, st.data())
def test_version_2(host: ipaddress.IPv4Address, port: int, tlvs: bytes, tail: bytes, data: st.DataObject) -> None:
    """Goal: any address is read, extensions are skipped. Method: write a header, read it, cut anywhere."""
    to = data.draw(st.ip_addresses(v=host.version))
    body = host.packed + to.packed + port.to_bytes(2, "big") + b"\0\x16" + tlvs
    family = b"\x11" if host.version == 4 else b"\x21"
    header = SIGNATURE + b"\x21" + family + len(body).to_bytes(2, "big") + body
    assert parse(header + tail) == Header(len(header), Address(str(host), port))
    local = SIGNATURE + b"\x20" + header[13:]
    assert parse(local + tail) == Header(len(header), None)
    assert parse(header[: data.draw(st.integers(0, len(header) - 1))]) is None


@given(st.sampled_from([b"", SIGNATURE, b"PROXY ", b"PROXY TCP4 "]), st.binary(max_size=200))
def test_anything(beginning: bytes, rest: bytes) -> None:
    """Goal: no bytes crash the parser or are taken for more than they are. Method: any, and any after a beginning."""
    data = beginning + rest
    try:
        header = parse(data)
    except Invalid:
        return
    assert header is None or header.size_bytes <= min(len(data), V2_BYTES_MAX)


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x99\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\0\x0b" + bytes(12),
        SIGNATURE + b"\x21\x12\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_malformed_headers_are_refused(data: bytes) -> None:
    """Goal: nothing malformed is guessed at. Method: one fault each."""
    with pytest.raises(Invalid):
        parse(data)


def test_no_header() -> None:
    """Goal: an SSH client's first words are left to SSH. Method: parse them."""
    assert parse(b"SSH-2.0-OpenSSH_9.2\r\n") == NO_HEADER
    assert parse(b"PROXY UNKNOWN and what follows\r\nSSH") == Header(32, None)


def test_trust() -> None:
    """Goal: only listed networks are believed. Method: addresses inside and outside, IPv4 within IPv6."""
    assert is_trusted("10.1.2.3", ("10.0.0.0/8",))
    assert is_trusted("::ffff:10.1.2.3", ("10.1.2.3",))
    assert is_trusted("fe80::1%eth0", ("fe80::/10",))
    assert not is_trusted("11.1.2.3", ("10.0.0.0/8", "::/0"))
    assert not is_trusted("10.1.2.3", ())
