"""Partners as they are: other host keys, no posix-rename, refused logins, gone in the middle."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mft.errors import Denied, MftError, Unavailable
from mft.events import catalogue
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import ArchiveSpec
from tests.integration.transfers.conftest import Bench, bench_at, sftp_location
from tests.integration.transfers.files import tree
from tests.rig.sshd import Sshd, make_key
from tests.rig.waiting import eventually, free_port


@pytest.fixture
async def old_server(tmp_path: Path) -> AsyncIterator[Sshd]:
    """A server that has no posix-rename: renames link and unlink, and never replace."""
    server = Sshd(tmp_path / "old-sshd")
    config = tmp_path / "old-sshd" / "sshd_config"
    config.write_text(
        config.read_text().replace("ForceCommand internal-sftp", "ForceCommand internal-sftp -P posix-rename")
    )
    try:
        await server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
async def old_partner(old_server: Sshd, tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench that delivers to such a server."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    async with bench_at(tmp_path, inbox, sftp_location(old_server)) as bench:
        yield bench


async def test_without_posix_rename(old_partner: Bench) -> None:
    """Goal: files are delivered, but a vanished temp file proves nothing. Method: an intent after its rename.

    Held it stays, also over terms; sent again it comes a second time, as the operator has asked for.
    """
    bench = old_partner
    assert not (await bench.remote()).source_atomic
    bench.give("a")
    await bench.run()
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()
    before, gone = bench.taken("b"), bench.taken("c")
    bench.intend(before, "b", bench.temp(before, b"BEFORE"))
    temp = bench.temp(gone)
    (bench.inbox / temp).unlink()
    bench.intend(gone, "c", temp)
    await bench.run(8, sweep=True)
    assert bench.arrived() == {"a": b"content", "b": b"BEFORE"}
    assert bench.journal.records[gone].state == "uncertain"
    assert [event for event, _ in bench.events].count(catalogue.DELIVERY_UNCERTAIN) == 1
    await bench.run(9, sweep=True)
    assert set(bench.arrived()) == {"a", "b"}
    bench.spec = msgspec.structs.replace(bench.spec, on_uncertain="resend")
    await bench.run(10, sweep=True)
    assert set(bench.arrived()) == {"a", "b", "c"}
    bench.check_settled()


async def test_without_posix_rename_nothing_is_replaced(old_partner: Bench) -> None:
    """Goal: a name that is taken is a failure that heals, and loses nothing. Method: leave the first file there."""
    bench = old_partner
    bench.give("a", b"FIRST")
    await bench.run()
    bench.give("a", b"SECOND")
    assert (await bench.run()).failed == 1
    assert bench.arrived() == {"a": b"FIRST"}
    for term in range(8, 30):
        await bench.run(term, sweep=True)
    (bench.inbox / "a").unlink()
    await bench.run(30, sweep=True)
    assert bench.arrived() == {"a": b"SECOND"}
    bench.check_settled()


async def test_taking_without_posix_rename(old_server: Sshd, tmp_path: Path) -> None:
    """Goal: sources are taken and archived there too, a later one in the place of an earlier. Method: one name, twice.

    Here the destination is a folder, so that what is taken over is proven.
    """
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    async with bench_at(tmp_path, inbox, LocalLocationSpec(root="/")) as bench:
        bench.take_from(old_server)
        bench.spec = msgspec.structs.replace(bench.spec, archive=ArchiveSpec(path="kept", name="exact"))
        for content in (b"FIRST", b"SECOND"):
            bench.give("a", content)
            assert (await bench.run()).delivered == 1
            assert bench.arrived() == tree(bench.source / "kept") == {"a": content}
        bench.check_settled()
        gone = bench.taken("b")
        bench.intend(gone, "b", "." + gone)
        await bench.run(8, sweep=True)
        assert set(bench.arrived()) == {"a"}
        bench.check_settled()


async def test_a_fingerprint_is_enough(bench: Bench, shared_sshd: Sshd, tmp_path: Path) -> None:
    """Goal: a host key may be given as a fingerprint. Method: as `ssh-keygen -l` prints it."""
    import asyncssh

    fingerprint = asyncssh.import_public_key(shared_sshd.host_key).get_fingerprint("sha256")
    bench.location = sftp_location(shared_sshd, host_keys=(fingerprint,))
    bench.give("a")
    assert (await bench.run()).delivered == 1


async def test_another_host_key_is_denied(bench: Bench, shared_sshd: Sshd, tmp_path: Path) -> None:
    """Goal: nothing is sent to whoever shows another key, and which that is is told. Method: name another one."""
    import asyncssh

    shown = asyncssh.import_public_key(shared_sshd.host_key).get_fingerprint("sha256")
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text().strip()
    for named in (other, "SHA256:" + "A" * 43):
        bench.location = sftp_location(shared_sshd, host_keys=(named,))
        bench.give("a")
        with pytest.raises(Denied, match=rf"host_keys: ssh-ed25519 {re.escape(shown)}"):
            await bench.run()
    assert bench.left() == ["a"]
    assert bench.arrived() == {}


async def test_a_wrong_key_is_denied(bench: Bench, shared_sshd: Sshd, tmp_path: Path) -> None:
    """Goal: a refused login is told as such, without the key. Method: a key that the partner does not know."""
    private = make_key(tmp_path / "wrong").read_text()
    bench.location = sftp_location(shared_sshd, private_key=private)
    with pytest.raises(Denied, match="refuses the login") as caught:
        await bench.remote()
    assert "PRIVATE KEY" not in str(caught.value)


async def test_an_unreachable_partner(bench: Bench, shared_sshd: Sshd) -> None:
    """Goal: an outage is an outage, not a refusal. Method: nobody listens; and somebody listens who says nothing."""
    bench.location = sftp_location(shared_sshd, port=free_port())
    with pytest.raises(Unavailable, match="cannot connect"):
        await bench.remote()
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        bench.location = sftp_location(shared_sshd, port=silent.sockets[0].getsockname()[1], connect_timeout_s=0.5)
        with pytest.raises(Unavailable):
            await bench.remote()
    finally:
        silent.close()
        for writer in writers:
            writer.close()


@pytest.mark.parametrize("fault", ["kill", "pause"])
@pytest.mark.parametrize("side", ["destination", "source"])
async def test_the_partner_goes_in_the_middle(sshd: Sshd, tmp_path: Path, side: str, fault: str) -> None:
    """Goal: a lost connection ends the pass, and the next one delivers all once. Method: kill or freeze the server."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    partner, is_source = sftp_location(sshd, call_timeout_s=1.0), side == "source"
    async with bench_at(tmp_path, inbox, LocalLocationSpec(root="/") if is_source else partner) as bench:
        if is_source:
            bench.take_from(sshd)
            bench.source_location = partner
        names = [f"f{number:02d}" for number in range(40)]
        for name in names:
            bench.give(name, os.urandom(400_000))
        took: list[str] = []

        def consume() -> None:
            for name in bench.arrived():
                (inbox / name).unlink()
                took.append(name)

        async with asyncio.TaskGroup() as tasks:

            async def first() -> None:
                with pytest.raises(Unavailable):
                    await bench.run()

            running = tasks.create_task(first(), name="first pass")
            await eventually(lambda: len(bench.arrived()) > 5, what="it is under way")
            sshd.kill() if fault == "kill" else sshd.pause()
            await asyncio.wait([running])
        consume()
        if fault == "kill":
            await sshd.start()
        else:
            sshd.resume()
        id = "source" if is_source else "partner"
        await bench.pool.discard(id, await bench.pool.get(id, partner))  # As the worker does after such an error.

        async def all_came() -> bool:
            try:
                await bench.run(8, sweep=True)
            except MftError:
                return False
            consume()
            return not bench.left()

        await eventually(all_came, 60, what="all came")
        assert sorted(took) == names
        bench.check_settled()
