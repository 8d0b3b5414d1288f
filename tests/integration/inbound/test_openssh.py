"""OpenSSH's sftp and scp against the service: what users do all day."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mft.events import catalogue
from tests.integration.inbound.conftest import Serve
from tests.integration.inbound.harness import Inbound, reach


async def test_a_password_and_a_round_trip(inbound: Inbound, tmp_path: Path) -> None:
    """Goal: the first thing anybody tries works. Method: password, put, ls, get, compare."""
    (tmp_path / "up.bin").write_bytes(bytes(range(256)) * 3000)
    ran = await inbound.sftp("pwd", "put up.bin", "ls -la", "get up.bin down.bin", key=False)
    assert ran.status == 0, ran
    assert "Remote working directory: /" in ran.out
    assert (tmp_path / "down.bin").read_bytes() == (tmp_path / "up.bin").read_bytes()
    assert (inbound.home / "up.bin").stat().st_mode & 0o777 == 0o640
    await reach(lambda: inbound.of(catalogue.CONNECTION_CLOSED))
    ids = [event for event, _ in inbound.events]
    assert ids == [
        catalogue.CONNECTION_OPENED,
        catalogue.LOGIN_ACCEPTED,
        catalogue.SESSION_OPENED,
        catalogue.UPLOAD_BEGUN,
        catalogue.UPLOAD_DONE,
        catalogue.DOWNLOAD_BEGUN,
        catalogue.DOWNLOAD_DONE,
        catalogue.CONNECTION_CLOSED,
    ]
    assert inbound.of(catalogue.UPLOAD_DONE)[0]["size_bytes"] == 768_000
    assert inbound.of(catalogue.DOWNLOAD_DONE)[0]["size_bytes"] == 768_000
    assert inbound.of(catalogue.DOWNLOAD_DONE)[0]["path"] == "/up.bin"
    assert inbound.service.sessions == 0


async def test_keyboard_interactive_is_the_password(inbound: Inbound) -> None:
    """Goal: clients that only know keyboard-interactive get in. Method: offer nothing else."""
    ran = await inbound.sftp("pwd", key=False, options=("-o", "PreferredAuthentications=keyboard-interactive"))
    assert ran.status == 0, ran


async def test_folders_names_and_attributes(inbound: Inbound, tmp_path: Path) -> None:
    """Goal: all that the sftp program can do. Method: each command once, then look at the disk."""
    (tmp_path / "f").write_text("hello")
    os.utime(tmp_path / "f", (1_000_000_000, 1_100_000_000))
    (tmp_path / "empty").write_text("")
    ran = await inbound.sftp(
        'mkdir "a dir"',
        "mkdir d",
        "cd d",
        "put -p f g",
        "put empty -x",
        "chmod 604 g",
        "rename g h",
        "ls -l h",
        "df",
        "cd ..",
        "rename d e",
        "mkdir gone",
        "rmdir gone",
        "put empty e/zero",
    )
    assert ran.status == 0, ran
    assert sorted(p.name for p in inbound.home.iterdir()) == ["a dir", "e"]
    assert (inbound.home / "e" / "h").read_text() == "hello"
    assert (inbound.home / "e" / "h").stat().st_mtime == 1_100_000_000
    assert (inbound.home / "e" / "h").stat().st_mode & 0o777 == 0o600, "the umask rules chmod too"
    assert (inbound.home / "e" / "zero").stat().st_size == 0
    assert (inbound.home / "e").stat().st_mode & 0o777 == 0o750


async def test_errors_are_errors(inbound: Inbound) -> None:
    """Goal: nothing that failed looks as if it had worked. Method: each command fails; sftp's status says so."""
    (inbound.home).mkdir(parents=True)
    (inbound.home / "f").write_text("f")
    (inbound.home / "d").mkdir()
    (inbound.home / "d" / "x").write_text("x")
    (inbound.home / "g").write_text("g")
    for command, words in {
        "cd nosuch": "No such file",
        "ls nosuch": "not found",
        "get nosuch": "not found",
        "rm nosuch": "No such file",
        "rmdir d": "Failure",
        "mkdir d": "Failure",
        "rename f d": "Failure",
        "rename -l f g": "Failure",
        "put askpass nosuch/f": "No such file",
        "symlink f link": "unsupported",
        "ln f link": "not support",
        "chmod 600 nosuch": "No such file",
    }.items():
        ran = await inbound.sftp(command)
        assert ran.status != 0, command
        assert words in ran.out + ran.err, (command, ran)
    assert sorted(p.name for p in inbound.home.iterdir()) == ["d", "f", "g"]
    assert (inbound.home / "g").read_text() == "g"


@pytest.mark.parametrize("flags", [(), ("-p",)])
async def test_scp_ends_well(inbound: Inbound, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Goal: scp, which speaks SFTP since OpenSSH 9, exits with 0 after good transfers. Method: a tree up and down."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "naïve name").write_text("1")
    (tree / "b").write_bytes(b"2" * 100_000)
    scp = ("scp", *inbound.options(key=True), "-P", str(inbound.port), "-r", *flags)
    up = await inbound.run(*scp, str(tree), "ann@127.0.0.1:~/")
    assert up.status == 0, up
    down = await inbound.run(*scp, "ann@127.0.0.1:/tree", str(tmp_path / "back"))
    assert down.status == 0, down
    assert (tmp_path / "back" / "sub" / "naïve name").read_text() == "1"
    assert (tmp_path / "back" / "b").read_bytes() == b"2" * 100_000


async def test_no_shell_and_no_commands(inbound: Inbound) -> None:
    """Goal: there is only SFTP. Method: ask for a command, a shell, old scp, a forwarded port."""
    ssh = ("ssh", *inbound.options(key=True), "-p", str(inbound.port), "ann@127.0.0.1")
    for extra in (("id",), (), ("-s", "netconf")):
        ran = await inbound.run(*ssh, *extra)
        assert ran.status == 255, ran
        assert "uid=" not in ran.out
    old = await inbound.run(
        "scp", "-O", *inbound.options(key=True), "-P", str(inbound.port), "askpass", "ann@127.0.0.1:"
    )
    assert old.status != 0
    tunnel = await inbound.run(
        "ssh", *inbound.options(key=True), "-p", str(inbound.port), "-W", "127.0.0.1:1", "ann@127.0.0.1"
    )
    assert tunnel.status == 255


async def test_a_big_file_both_ways(inbound: Inbound, tmp_path: Path) -> None:
    """Goal: size and content hold where windows, rekeying and short reads matter. Method: 64 MB, rekey each 8 MB."""
    block = os.urandom(1024 * 1024)
    with (tmp_path / "big").open("wb") as file:
        for n in range(64):
            file.write(block[n:] + block[:n])
    ran = await inbound.sftp("put big", "get big back", options=("-o", "RekeyLimit=8M"))
    assert ran.status == 0, ran
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()


async def test_many_files_and_a_long_listing(inbound: Inbound) -> None:
    """Goal: listings stream, whatever their length. Method: 2,000 entries, among them odd names."""
    inbound.home.mkdir(parents=True)
    for n in range(2000):
        (inbound.home / f"file-{n:05}").touch()
    os.mkdir(os.fsencode(inbound.home) + b"/\xff\xfe")
    ran = await inbound.sftp("ls -1")
    assert ran.status == 0
    assert len([line for line in ran.out.splitlines() if line.startswith("file-")]) == 2000


async def test_the_banner_is_shown(serve: Serve) -> None:
    """Goal: the text that lawyers want is seen before login. Method: a banner, and ssh's own words."""
    inbound = await serve(banner="Authorized use only.")
    ran = await inbound.sftp("pwd", options=("-o", "LogLevel=INFO"))
    assert "Authorized use only." in ran.err
