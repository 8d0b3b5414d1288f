"""The protocol engine by itself: bytes in, bytes out, over a real folder."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mft.aio import Threads
from mft.errors import Invalid
from mft.files.confined import ConfinedFolder, Entry
from mft.services.session import READ_BYTES_MAX, Origin, Session
from mft.services.sftp_requests import Requests
from mft.services.sftp_status import Code
from mft.services.sftp_wire import Flag, Inflow, Kind, Packet, answer, long_name, string

INIT = bytes([Kind.INIT]) + struct.pack(">I", 3)


class Reply:
    """One answer, taken apart."""

    def __init__(self, data: bytes) -> None:
        (packet,) = Inflow().feed(data)
        self.body = Packet(packet)
        self.kind = self.body.byte()
        self.id = self.body.uint32()

    @property
    def status(self) -> int:
        """The code of an answer that is a status."""
        assert self.kind == Kind.STATUS
        return self.body.uint32()


class Client:
    """Sends requests by hand."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.id = 0

    async def ask(self, kind: int, *fields: bytes | int, tail: bytes = b"") -> Reply:
        """Send one request and return its answer."""
        self.id += 1
        body = b"".join(string(f) if isinstance(f, bytes) else struct.pack(">I", f) for f in fields)
        reply = Reply(await self.requests.handle(struct.pack(">BI", kind, self.id) + body + tail))
        assert reply.id == self.id
        return reply

    async def open(self, path: bytes, flags: int) -> bytes:
        """Open a file and return its handle."""
        reply = await self.ask(Kind.OPEN, path, flags, 0)
        assert reply.kind == Kind.HANDLE
        return reply.body.string()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    threads = Threads(2, "files")
    events: list[tuple[int, dict[str, Any]]] = []
    home = ConfinedFolder(str(tmp_path / "home"), umask=0o027, create=True)
    session = Session(
        Origin("ann", "main", "sftp", "192.0.2.1", 1), home, threads, lambda *event: events.append(event), "atomic"
    )
    client = Client(Requests(session))
    await client.requests.handle(INIT)
    yield client
    await session.end()
    threads.close()


async def test_bytes_after_the_fields_are_ignored(client: Client, tmp_path: Path) -> None:
    """Goal: clients that send more than the fields work. Method: a WRITE with its whole buffer, RENAME with flags."""
    handle = await client.open(b"f", Flag.WRITE | Flag.CREATE)
    body = string(handle) + struct.pack(">Q", 0) + string(b"data")
    reply = await client.ask(Kind.WRITE, tail=body + b"rubbish" * 1000)
    assert reply.status == Code.OK
    assert (await client.ask(Kind.CLOSE, handle)).status == Code.OK
    assert (await client.ask(Kind.RENAME, b"f", b"g", 0)).status == Code.OK
    assert (tmp_path / "home" / "g").read_bytes() == b"data"


async def test_a_read_is_never_longer_than_allowed(client: Client, tmp_path: Path) -> None:
    """Goal: no request makes the server hold gigabytes. Method: ask for 4 GiB."""
    (tmp_path / "home" / "f").write_bytes(b"x" * 1_000_000)
    handle = await client.open(b"f", Flag.READ)
    reply = await client.ask(Kind.READ, tail=string(handle) + struct.pack(">QI", 0, 0xFFFFFFFF))
    assert reply.kind == Kind.DATA
    assert len(reply.body.string()) == READ_BYTES_MAX
    reply = await client.ask(Kind.READ, tail=string(handle) + struct.pack(">QI", 2_000_000, 10))
    assert reply.status == Code.EOF
    reply = await client.ask(Kind.READ, tail=string(handle) + struct.pack(">QI", 2**63 - 5, 10))
    assert reply.status == Code.BAD_MESSAGE


@pytest.mark.parametrize(
    ("path", "real"),
    [(b"", b"/"), (b".", b"/"), (b"..", b"/"), (b"/a/../../b/", b"/b"), (b"no/such", b"/no/such"), (b"\xff", b"/\xff")],
)
async def test_realpath(client: Client, path: bytes, real: bytes) -> None:
    """Goal: every path has a name, existing or not, and none is above the root. Method: examples."""
    reply = await client.ask(Kind.REALPATH, path)
    assert (reply.kind, reply.body.uint32(), reply.body.string()) == (Kind.NAME, 1, real)


async def test_opendir_fails_at_once_and_lists_dots(client: Client) -> None:
    """Goal: `cd nosuch` fails. Method: OPENDIR of nothing; then of the root, to the end."""
    assert (await client.ask(Kind.OPENDIR, b"nosuch")).status == Code.NO_SUCH_FILE
    handle = (await client.ask(Kind.OPENDIR, b"/")).body.string()
    reply = await client.ask(Kind.READDIR, handle)
    assert (reply.body.uint32(), reply.body.string()) == (2, b".")
    assert (await client.ask(Kind.READDIR, handle)).status == Code.EOF
    assert (await client.ask(Kind.CLOSE, handle)).status == Code.OK
    assert (await client.ask(Kind.CLOSE, handle)).status == Code.FAILURE


async def test_what_is_not_offered_is_unsupported(client: Client) -> None:
    """Goal: probing clients get the answer that they look for. Method: links, unknown kinds and extensions."""
    assert (await client.ask(Kind.SYMLINK, b"a", b"b")).status == Code.OP_UNSUPPORTED
    assert (await client.ask(Kind.READLINK, b"a")).status == Code.OP_UNSUPPORTED
    assert (await client.ask(Kind.EXTENDED, b"copy-data")).status == Code.OP_UNSUPPORTED
    assert (await client.ask(99)).status == Code.OP_UNSUPPORTED
    assert (await client.ask(Kind.OPEN, b"f")).status == Code.BAD_MESSAGE


async def test_owner_is_ignored_times_and_permissions_are_not(client: Client, tmp_path: Path) -> None:
    """Goal: clients that send all attributes succeed without root. Method: owner, permissions and times in one."""
    (tmp_path / "home" / "f").touch()
    reply = await client.ask(Kind.SETSTAT, b"f", 0x0E, 4321, 4321, 0o100777, 1_000_000_000, 1_100_000_000)
    assert reply.status == Code.OK
    status = (tmp_path / "home" / "f").stat()
    assert (status.st_mode & 0o7777, status.st_mtime) == (0o750, 1_100_000_000)
    assert status.st_uid == os.getuid()


async def test_only_an_init_may_begin(client: Client) -> None:
    """Goal: what is not SFTP ends. Method: another first packet."""
    requests = Requests(client.requests._session)
    with pytest.raises(Invalid):
        await requests.handle(struct.pack(">BI", Kind.STAT, 1) + string(b"/"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(min_size=5, max_size=60), st.sampled_from(list(Kind)))
def test_any_bytes_get_an_answer(tmp_path: Path, data: bytes, kind: Kind) -> None:
    """Goal: no packet is a traceback. Method: any bytes as any request; one answer with the same id, or Invalid."""
    import asyncio

    async def ask() -> None:
        threads = Threads(1, "files")
        home = ConfinedFolder(str(tmp_path / "home"), umask=0o027, create=True)
        session = Session(Origin("ann", "main", "sftp", "192.0.2.1", 1), home, threads, lambda *_: None, "atomic")
        requests = Requests(session)
        await requests.handle(INIT)
        reply = Reply(await requests.handle(bytes([kind]) + data))
        assert reply.id == int.from_bytes(data[:4], "big")
        await requests.close()
        await session.end()
        threads.close()

    asyncio.run(ask())


@given(st.lists(st.binary(min_size=1, max_size=50)), st.integers(1, 30))
def test_packets_come_whole_however_the_channel_cuts_them(bodies: list[bytes], cut: int) -> None:
    """Goal: the stream's cuts mean nothing. Method: join, cut at any width, compare."""
    stream = b"".join(answer(Kind.DATA, 1, body) for body in bodies)
    inflow = Inflow()
    found = [packet for at in range(0, len(stream), cut) for packet in inflow.feed(stream[at : at + cut])]
    assert [packet[5:] for packet in found] == bodies


@pytest.mark.parametrize("size", [0, 4, 10_000_000])
def test_packets_of_impossible_size_are_refused(size: int) -> None:
    """Goal: a length costs no memory before it is checked. Method: too small and too large."""
    with pytest.raises(Invalid):
        Inflow().feed(struct.pack(">I", size))


def test_long_names_look_like_ls(tmp_path: Path) -> None:
    """Goal: clients that read `ls -l` lines can. Method: a known file, recent and old."""
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    path.chmod(0o640)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    entry = Entry(b"f", path.stat())
    owner = f"{os.getuid():<8} {os.getgid():<8}"
    assert long_name(entry, 1_000_000_100) == f"-rw-r-----    1 {owner}        5 Sep  9 01:46 f".encode()
    assert long_name(entry, 2_000_000_000) == f"-rw-r-----    1 {owner}        5 Sep  9  2001 f".encode()
