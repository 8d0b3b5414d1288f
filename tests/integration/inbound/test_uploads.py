"""When a file appears, and what is left of one that was not finished."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import asyncssh
import msgspec
import pytest

from mft.events import catalogue
from tests.integration.inbound.conftest import Serve
from tests.integration.inbound.harness import PASSWORD, Inbound, reach


def connect(inbound: Inbound, **options: Any) -> Any:
    """Log in with asyncssh's client, which can stop in the middle of a file."""
    return asyncssh.connect(
        "127.0.0.1",
        inbound.port,
        username="ann",
        password=PASSWORD,
        known_hosts=None,
        client_keys=None,
        config=None,
        **options,
    )


def listed(inbound: Inbound) -> list[str]:
    return sorted(os.listdir(inbound.home))


async def test_a_file_appears_when_it_is_complete(inbound: Inbound) -> None:
    """Goal: no poller sees half a file. Method: stop in the middle, look, finish; status and times work meanwhile."""
    async with connect(inbound) as connection, connection.start_sftp_client() as sftp:
        file = await sftp.open("report.csv", "wb")
        await file.write(b"x" * 100_000)
        assert [name.startswith(".report.csv.") for name in listed(inbound)] == [True]
        assert (await sftp.stat("report.csv")).size == 100_000
        await sftp.utime("report.csv", (1_000_000_000, 1_000_000_000))
        await sftp.chmod("/report.csv", 0o644)
        await file.close()
        assert listed(inbound) == ["report.csv"]
        status = (inbound.home / "report.csv").stat()
        assert (status.st_size, status.st_mtime, status.st_mode & 0o777) == (100_000, 1_000_000_000, 0o640)


async def test_the_old_file_stands_until_the_new_one_is_complete(inbound: Inbound) -> None:
    """Goal: overwriting is atomic too. Method: a reader sees the old content until the close."""
    inbound.home.mkdir(parents=True)
    (inbound.home / "f").write_text("old")
    async with connect(inbound) as connection, connection.start_sftp_client() as sftp:
        file = await sftp.open("f", "wb")
        await file.write(b"new")
        assert (inbound.home / "f").read_text() == "old"
        await file.close()
        assert (inbound.home / "f").read_text() == "new"


async def test_a_killed_client_leaves_nothing(inbound: Inbound, tmp_path: Path) -> None:
    """Goal: what was cut off never looks complete. Method: SIGKILL OpenSSH's sftp amid a slow upload."""
    (tmp_path / "big").write_bytes(b"x" * 20_000_000)
    process = await inbound.start(
        "sftp", "-l", "4000", *inbound.options(key=True), "-P", str(inbound.port), "-b", "-", "ann@127.0.0.1"
    )
    assert process.stdin is not None
    process.stdin.write(b"put big\n")
    await reach(lambda: inbound.home.exists() and any((inbound.home / n).stat().st_size for n in listed(inbound)))
    # The program starts ssh as its child, which ends with its pipe.
    process.kill()
    await process.communicate()
    await reach(lambda: not listed(inbound))
    await reach(lambda: inbound.of(catalogue.UPLOAD_FAILED))
    assert "session ended" in inbound.of(catalogue.UPLOAD_FAILED)[0]["reason"]
    assert not inbound.of(catalogue.UPLOAD_DONE)
    await reach(lambda: inbound.service.sessions == 0)


async def test_a_removed_upload_is_never_published(inbound: Inbound) -> None:
    """Goal: the client's own delete counts. Method: remove the name while it is open, then close."""
    async with connect(inbound) as connection, connection.start_sftp_client() as sftp:
        file = await sftp.open("f", "wb")
        await file.write(b"x")
        await sftp.remove("f")
        await file.close()
        assert listed(inbound) == []


async def test_exclusive_means_it(inbound: Inbound) -> None:
    """Goal: EXCL never replaces, not even what appears during the upload. Method: make the file before the close."""
    async with connect(inbound) as connection, connection.start_sftp_client() as sftp:
        file = await sftp.open("f", "xb")
        await file.write(b"mine")
        (inbound.home / "f").write_text("theirs")
        with pytest.raises(asyncssh.SFTPError):
            await file.close()
        assert (inbound.home / "f").read_text() == "theirs"
        assert listed(inbound) == ["f"]


async def test_direct_uploads_grow_in_place_and_resume(serve: Serve, tmp_path: Path) -> None:
    """Goal: a client can go on where it was cut off. Method: half a file on the server, then OpenSSH's reput."""
    inbound = await serve(uploads="direct")
    content = os.urandom(300_000)
    (tmp_path / "f").write_bytes(content)
    async with connect(inbound) as connection, connection.start_sftp_client() as sftp:
        file = await sftp.open("f", "wb")
        await file.write(content[:100_000])
        assert (inbound.home / "f").stat().st_size == 100_000
    assert (await inbound.sftp("reput f", "reget f g")).status == 0
    assert (inbound.home / "f").read_bytes() == content
    assert (tmp_path / "g").read_bytes() == content


async def test_append_and_random_access(inbound: Inbound) -> None:
    """Goal: an existing file opened without truncation is written in place. Method: append; write in the middle."""
    inbound.home.mkdir(parents=True)
    (inbound.home / "f").write_text("0123456789")
    async with connect(inbound) as connection, connection.start_sftp_client() as sftp:
        async with sftp.open("f", "ab") as file:
            await file.write(b"ab")
        async with sftp.open("f", "r+b") as file:
            await file.seek(3)
            await file.write(b"xyz")
            await file.seek(0)
            assert await file.read() == b"012xyz6789ab"


async def test_a_session_has_only_so_many_handles(inbound: Inbound) -> None:
    """Goal: one client cannot use up the node's descriptors. Method: open until refused, files and folders."""
    async with connect(inbound) as connection, connection.start_sftp_client() as sftp:
        opened = [await sftp.open(f"f{n}", "wb") for n in range(64)]
        with pytest.raises(asyncssh.SFTPFailure, match="64 files"):
            await sftp.open("one too many", "wb")
        assert inbound.of(catalogue.TOO_MANY_OPEN)
        await opened.pop().close()
        opened.append(await sftp.open("again", "wb"))
    await reach(lambda: len(inbound.of(catalogue.UPLOAD_FAILED)) == 64)
    assert listed(inbound) == ["f63"]


async def test_links_planted_on_disk_lead_nowhere(inbound: Inbound, tmp_path: Path) -> None:
    """Goal: no client reads or writes outside its home. Method: links that an administrator left; every way in."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "f").write_text("secret")
    inbound.home.mkdir(parents=True)
    (inbound.home / "out").symlink_to(tmp_path / "secret")
    (inbound.home / "file").symlink_to(tmp_path / "secret" / "f")
    (inbound.home / "a" / "b").mkdir(parents=True)
    (inbound.home / "a" / "b" / "up").symlink_to("../..")
    for command in ("get out/f x", "get file x", "put askpass out/new", "put askpass file", "cd out"):
        assert (await inbound.sftp(command)).status != 0, command
    ran = await inbound.sftp("rename a/b/up up", "-ls up/", "-get up/secret/f x", "-get up/../../secret/f x", "rm out")
    assert ran.status == 0, ran
    assert "secret" not in ran.out.replace("up/secret/f", "").replace("up/../../secret/f", "")
    assert not (tmp_path / "x").exists()
    assert (tmp_path / "secret" / "f").read_text() == "secret"
    assert os.listdir(tmp_path / "secret") == ["f"]


async def test_storage_that_is_not_there_is_no_wrong_password(serve: Serve) -> None:
    """Goal: an outage does not look like a refusal, and no home is made on the wrong disk. Method: no such folder."""
    inbound = await serve()
    account = inbound.config.value.accounts["ann"]
    config = msgspec.structs.replace(
        inbound.config.value, accounts={"ann": msgspec.structs.replace(account, create_home_folder=False)}
    )
    inbound.config.set(config)
    ran = await inbound.sftp("pwd")
    assert ran.status == 255
    assert "not available" in ran.err
    assert not inbound.home.exists()
    assert not inbound.of(catalogue.LOGIN_REJECTED)


async def test_requests_keep_their_order_when_many_are_in_flight(inbound: Inbound) -> None:
    """Goal: pipelining neither reorders nor loses. Method: many concurrent files over one channel, compared."""
    contents = {f"f{n}": os.urandom(50_000 + n) for n in range(30)}
    async with connect(inbound) as connection, connection.start_sftp_client() as sftp:

        async def one(name: str, content: bytes) -> None:
            async with sftp.open(name, "wb") as file:
                await file.write(content)

        await asyncio.gather(*(one(name, content) for name, content in contents.items()))
    assert {name: (inbound.home / name).read_bytes() for name in listed(inbound)} == contents
