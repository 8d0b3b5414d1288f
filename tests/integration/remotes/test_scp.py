"""Servers without SFTP: what they must offer, what is refused, and what each failure is called."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mft.errors import Exhausted, Invalid, MftError, NotFound, Unavailable
from mft.transfers.remotes.local_content import VISIT_BYTES
from mft.transfers.remotes.scp import ScpRemote
from mft.transfers.remotes.sftp import SftpRemote
from tests.integration.remotes.conftest import Place, open_descriptors, pieces, place_at, scp_location
from tests.integration.remotes.test_outages import WAYS
from tests.integration.transfers.conftest import sftp_location
from tests.rig.shell_sshd import ShellSshd
from tests.rig.sshd import Sshd
from tests.rig.waiting import eventually

LIMIT_S = 2.0


@asynccontextmanager
async def running(folder: Path, *settings: str) -> AsyncIterator[Sshd]:
    """Run a server of one's own without SFTP."""
    server = ShellSshd(folder, settings=settings)
    try:
        await server.start()
        yield server
    finally:
        server.kill()


@asynccontextmanager
async def at(sshd: Sshd, folder: Path, **changes: Any) -> AsyncIterator[Place]:
    """Open a folder at this server."""
    async with place_at(scp_location(sshd, **changes), folder, str(folder)) as place:
        yield place


@asynccontextmanager
async def place_of(shell_sshds: Mapping[str, Sshd], kind: str, folder: Path) -> AsyncIterator[Place]:
    """Open a folder at a shared server, if that is here."""
    if kind not in shell_sshds:
        pytest.skip("busybox is not here: run `make setup`")
    async with at(shell_sshds[kind], folder) as place:
        yield place


KINDS = pytest.mark.parametrize("kind", ["scp", "scp-busybox"])


@KINDS
async def test_going_on(shell_sshds: Mapping[str, Sshd], tmp_path: Path, kind: str) -> None:
    """Goal: a cut-off file is gone on with. Method: write and read from offsets; longer, equal and shorter files."""
    content = os.urandom(2 * VISIT_BYTES + 5)
    async with place_of(shell_sshds, kind, tmp_path) as place:
        for there, offset in ((VISIT_BYTES, VISIT_BYTES), (2 * VISIT_BYTES, 7), (10, 3)):
            (tmp_path / "part").write_bytes(content[:there])
            rest = content[offset:]
            assert await place.remote.write(place.path("part"), pieces(rest[:99], rest[99:]), offset) == len(rest)
            assert (tmp_path / "part").read_bytes() == content
        async with place.remote.read(place.path("part"), 11) as reading:
            assert b"".join([piece async for piece in reading]) == content[11:]
        (tmp_path / "part").write_bytes(b"short")
        with pytest.raises(MftError, match="shorter"):
            await place.remote.write(place.path("part"), pieces(b"x"), 6)
        assert (tmp_path / "part").read_bytes() == b"short"
        with pytest.raises(NotFound):
            await place.remote.write(place.path("absent"), pieces(b"x"), 6)
        assert not (tmp_path / "absent").exists()


@KINDS
async def test_the_server_hashes(shell_sshds: Mapping[str, Sshd], tmp_path: Path, kind: str) -> None:
    """Goal: a check without reading back. Method: a file of known hash, under a name that such tools escape."""
    name = "two\nlines \\"
    (tmp_path / name).write_bytes(b"abc")
    async with place_of(shell_sshds, kind, tmp_path) as place:
        known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert await place.remote.sha256(place.path(name)) == known
        with pytest.raises(NotFound):
            await place.remote.sha256(place.path("absent"))


async def test_names_are_never_commands(shell_sshds: Mapping[str, Sshd], tmp_path: Path) -> None:
    """Goal: nobody runs anything by naming a file. Method: names that a shell or an option parser would act on."""
    hostile = ["$(touch hit)", "`touch hit`", "; touch hit;", "'; touch hit; '", '"; touch hit; "', "-exec", "--help"]
    async with place_of(shell_sshds, "scp", tmp_path) as place:
        for name in hostile:
            await place.remote.write(place.path(name), pieces(b"x"))
            await place.remote.rename(place.path(name), place.path(name + " 2"))
            await place.remote.make_folder(place.path(name))
            assert [entry async for entry in place.remote.scan(place.path(name))] == []
        found = {entry.name async for entry in place.remote.scan(place.path())}
    assert found == set(hostile) | {f"{name} 2" for name in hostile}


@KINDS
async def test_a_relative_path_begins_at_the_login(shell_sshds: Mapping[str, Sshd], tmp_path: Path, kind: str) -> None:
    """Goal: paths mean what they mean by SFTP. Method: a folder named by a dash, below the account's own."""
    folder, name = f"-p {kind}", f"-n {kind}"  # All have one account.
    async with place_of(shell_sshds, kind, tmp_path) as place:
        await place.remote.make_folder(folder)
        await place.remote.write(f"{folder}/{name}", pieces(b"x"))
        await place.remote.rename(f"{folder}/{name}", name)
        assert (await place.remote.lstat(name)).size_bytes == 1
        assert name in [entry.name async for entry in place.remote.scan("")]
        await place.remote.remove(name)
        await place.remote.remove_folder(folder)


async def test_a_rename_to_another_file_system_is_refused(shell_sshds: Mapping[str, Sshd], tmp_path: Path) -> None:
    """Goal: no rename of two steps, of which two could win. Method: from the disk to memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if os.stat(other).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("this machine has one file system only")
        (tmp_path / "file").write_bytes(b"x")
        async with place_of(shell_sshds, "scp", tmp_path) as place:
            with pytest.raises(MftError, match="another file system"):
                await place.remote.rename(place.path("file"), f"{other}/file")
        assert (tmp_path / "file").exists()
        assert os.listdir(other) == []


async def test_a_full_disk_is_called_so(shell_sshds: Mapping[str, Sshd], tmp_path: Path) -> None:
    """Goal: "full" is told from "broken". Method: write to the device that is always full."""
    async with place_of(shell_sshds, "scp", tmp_path) as place:
        with pytest.raises(Exhausted):
            await place.remote.write("/dev/full", pieces(b"x" * VISIT_BYTES))


async def test_a_server_that_allows_one_command_at_a_time(tmp_path: Path) -> None:
    """Goal: parallel files need no more than a server gives. Method: one channel a connection; copy on the server."""
    contents = {f"file-{number}": os.urandom(200_000) for number in range(4)}
    async with running(tmp_path / "sshd", "MaxSessions 1") as sshd, at(sshd, tmp_path) as place:

        async def copy(name: str) -> None:
            (tmp_path / name).write_bytes(contents[name])
            async with place.remote.read(place.path(name)) as reading:
                await place.remote.write(place.path(f"{name}.copy"), reading)

        await asyncio.gather(*map(copy, contents))
    assert {name: (tmp_path / f"{name}.copy").read_bytes() for name in contents} == contents


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("ForceCommand internal-sftp",), "does not run what"),
        (("ForceCommand echo Welcome; eval $SSH_ORIGINAL_COMMAND",), "Welcome"),
        (("ForceCommand echo This account is not available; exit 1",), "not available"),
        (("SetEnv PATH=/nowhere",), "not found"),
    ],
    ids=["sftp-only", "talkative", "no-login", "no-tools"],
)
async def test_accounts_that_run_no_commands(tmp_path: Path, settings: tuple[str, ...], message: str) -> None:
    """Goal: a location that cannot work says why. Method: accounts that run something else, or say more."""
    async with running(tmp_path / "sshd", *settings) as sshd:
        before = open_descriptors()
        with pytest.raises(Invalid, match=message):
            await ScpRemote.open(scp_location(sshd))
        await eventually(lambda: open_descriptors() <= before, what="the connection is closed")


async def test_an_sftp_location_says_what_else_may_help(shell_sshds: Mapping[str, Sshd]) -> None:
    """Goal: who has chosen the wrong type learns which is right. Method: SFTP where there is none."""
    before = open_descriptors()
    with pytest.raises(Invalid, match=r'offers no SFTP.*type = "scp"'):
        await SftpRemote.open(sftp_location(shell_sshds["scp"]))
    await eventually(lambda: open_descriptors() <= before, what="the connection is closed")


async def test_a_frozen_and_a_killed_server_are_outages(tmp_path: Path) -> None:
    """Goal: nothing waits for ever, nothing lost is "no such file". Method: freeze it, kill it; each call each time."""
    async with (
        running(tmp_path / "sshd") as sshd,
        at(sshd, tmp_path, call_timeout_s=LIMIT_S) as frozen,
        at(sshd, tmp_path) as killed,
    ):
        sshd.pause()
        async with asyncio.timeout(40 * LIMIT_S):
            remote: Any = frozen.remote
            calls = (way(remote, str(tmp_path)) for way in WAYS)
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * len(WAYS), results
        sshd.kill()
        remote = killed.remote
        for way in WAYS:
            with pytest.raises(Unavailable):
                await way(remote, str(tmp_path))
        with pytest.raises(Unavailable):
            await killed.again()


async def test_a_connection_can_be_given_up_at_any_time(shell_sshds: Mapping[str, Sshd], tmp_path: Path) -> None:
    """Goal: giving up ends what is under way. Method: close while a write waits for its source."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        begun.set()
        await go_on.wait()
        yield b"y"

    async with place_of(shell_sshds, "scp", tmp_path) as place, asyncio.TaskGroup() as tasks:

        async def write() -> None:
            with pytest.raises(Unavailable):
                await place.remote.write(place.path("file"), slow())

        tasks.create_task(write(), name="write")
        await begun.wait()
        await place.remote.close()
        go_on.set()
