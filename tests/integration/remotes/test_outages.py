"""What each failure of a partner is called: an outage, a refusal, a full disk, or a location that cannot be right."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from mft.errors import Denied, Exhausted, Invalid, Unavailable
from mft.model.locations import LocalLocationSpec, SftpLocationSpec
from mft.transfers.remotes.local import LocalRemote
from mft.transfers.remotes.sftp import SftpRemote
from tests.integration.remotes.conftest import Anybody, pieces, place_at
from tests.integration.transfers.conftest import sftp_location
from tests.rig.sshd import Sshd, make_key
from tests.rig.waiting import free_port

LIMIT_S = 1.0
Way = Callable[[SftpRemote, str], Awaitable[object]]


async def _scan(remote: SftpRemote, path: str) -> None:
    [entry async for entry in remote.scan(path)]


async def _read(remote: SftpRemote, path: str) -> None:
    async with remote.read(path + "/file") as content:
        [piece async for piece in content]


WAYS: tuple[Way, ...] = (
    _scan,
    _read,
    lambda remote, path: remote.lstat(path),
    lambda remote, path: remote.rename(path + "/a", path + "/b"),
    lambda remote, path: remote.remove(path + "/a"),
    lambda remote, path: remote.make_folder(path + "/c"),
    lambda remote, path: remote.remove_folder(path + "/c"),
    lambda remote, path: remote.write(path + "/new", pieces(b"x")),
)


async def test_a_frozen_server_is_an_outage_within_the_limit(sshd: Sshd, tmp_path: Path) -> None:
    """Goal: nothing waits for ever. Method: freeze the server; every call fails in time, as an outage."""
    async with place_at(sftp_location(sshd, call_timeout_s=LIMIT_S), tmp_path, str(tmp_path)) as place:
        assert isinstance(place.remote, SftpRemote)
        await place.remote.lstat(place.path())
        sshd.pause()
        try:
            async with asyncio.timeout(40 * LIMIT_S):
                results = await asyncio.gather(
                    *(way(place.remote, str(tmp_path)) for way in WAYS), return_exceptions=True
                )
            assert [type(result) for result in results] == [Unavailable] * len(WAYS), results
        finally:
            sshd.resume()


async def test_a_killed_server_is_an_outage(sshd: Sshd, tmp_path: Path) -> None:
    """Goal: a lost connection is never "no such file". Method: kill the server and its sessions; then every call."""
    async with place_at(sftp_location(sshd), tmp_path, str(tmp_path)) as place:
        assert isinstance(place.remote, SftpRemote)
        sshd.kill()
        for way in WAYS:
            with pytest.raises(Unavailable):
                await way(place.remote, str(tmp_path))
    with pytest.raises(Unavailable):
        await SftpRemote.open(sftp_location(sshd))


async def test_a_channel_that_is_late_harms_no_file(tmp_path: Path, shared_sshd: Sshd) -> None:
    """Goal: a slow road fails no file for a channel that is late. Method: all but the first channel are mute."""
    channels: list[Any] = []
    may_end = asyncio.Event()
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def serve(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        channels.append(channel)
        if len(channels) > 1:
            await may_end.wait()
        return asyncssh.SFTPServer(channel)

    factory: Any = serve  # The library awaits it, without saying so.
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], server_factory=Anybody, sftp_factory=factory)
    try:
        spec = sftp_location(
            shared_sshd,
            port=server.get_port(),
            host_keys=(key.export_public_key().decode().strip(),),
            call_timeout_s=LIMIT_S,
        )
        async with place_at(spec, tmp_path, str(tmp_path)) as place:
            remote = place.remote
            assert isinstance(remote, SftpRemote)
            exchange = await remote._channels.pick()
            exchange.unanswered_bytes += 1024 * 1024  # As if that much of another file were under way.
            assert await remote.write(place.path("new"), pieces(b"content")) == 7
            assert len(channels) == 2
            assert await remote.write(place.path("newer"), pieces(b"content")) == 7
            assert len(channels) == 2  # The server is not asked for ever more.
            exchange.unanswered_bytes -= 1024 * 1024
    finally:
        may_end.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("kind", ["local", "sftp"])
async def test_closing_ends_what_is_under_way(shared_sshd: Sshd, tmp_path: Path, kind: str) -> None:
    """Goal: a connection can be given up at any time. Method: close while a write waits for its source."""
    spec: Any = LocalLocationSpec(root="/") if kind == "local" else sftp_location(shared_sshd)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        begun.set()
        await go_on.wait()
        yield b"y"

    async with place_at(spec, tmp_path, str(tmp_path)) as place, asyncio.TaskGroup() as tasks:

        async def write() -> None:
            with pytest.raises(Unavailable):
                await place.remote.write(place.path("file"), slow())

        tasks.create_task(write(), name="write")
        await begun.wait()
        await place.remote.close()
        go_on.set()
    with pytest.raises(Unavailable):
        await place.remote.lstat(place.path())


async def test_local_calls_that_wait_for_a_thread_end_with_the_remote(tmp_path: Path) -> None:
    """Goal: no call of a closed remote looks cancelled. Method: many calls at once, closed before most have begun."""
    remote = LocalRemote(LocalLocationSpec(root=str(tmp_path)))

    async def look() -> str:
        try:
            await remote.lstat("")
        except Unavailable:
            return "closed"
        return "answered"

    async with asyncio.TaskGroup() as tasks:
        looks = [tasks.create_task(look(), name="look") for _ in range(500)]
        await asyncio.sleep(0)
        await remote.close()
    assert "closed" in {look.result() for look in looks}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("kind", ["local", "sftp"])
async def test_a_full_disk_is_called_so(shared_sshd: Sshd, small_disk: Path, kind: str) -> None:
    """Goal: "full" is told from "broken", though SFTP 3 has no word for it. Method: write 5 MiB to 2; then it heals."""
    spec: Any = LocalLocationSpec(root="/") if kind == "local" else sftp_location(shared_sshd)
    async with place_at(spec, small_disk, str(small_disk)) as place:
        with pytest.raises(Exhausted):
            await place.remote.write(place.path("file"), pieces(*[os.urandom(1024 * 1024)] * 5))
        await place.remote.remove(place.path("file"))
        assert await place.remote.write(place.path("file"), pieces(b"x")) == 1


async def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Goal: a name that turns into a pipe stalls nothing. Method: read one that nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    async with place_at(LocalLocationSpec(root=str(tmp_path)), tmp_path, "") as place:
        with pytest.raises(Exception, match="pipe"):
            async with place.remote.read("pipe"):
                pass


async def test_logins_and_identities(shared_sshd: Sshd, tmp_path: Path) -> None:
    """Goal: a refusal, an outage and a mistake are told apart. Method: wrong key, wrong host key, no server, no key."""
    other = make_key(tmp_path / "other")
    wrong_host = (other.with_suffix(".pub").read_text("utf-8").strip(),)
    cases: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"private_key": other.read_text("utf-8")}, Denied),
        ({"private_key": None, "password": "wrong-secret"}, Denied),
        ({"host_keys": wrong_host}, Denied),
        ({"host_keys": ("SHA256:" + "A" * 43,)}, Denied),
        ({"port": free_port()}, Unavailable),
        ({"address": "nowhere.invalid"}, Unavailable),
        ({"private_key": "no key: wrong-secret"}, Invalid),
    ]
    for changes, wanted in cases:
        with pytest.raises(wanted) as caught:
            await SftpRemote.open(sftp_location(shared_sshd, **changes))
        assert type(caught.value) is wanted
        assert "wrong-secret" not in str(caught.value)
    several = (*wrong_host, "SHA256:" + "A" * 43, shared_sshd.host_key)
    await (await SftpRemote.open(sftp_location(shared_sshd, host_keys=several))).close()


class AsksOnly(asyncssh.SSHServer):
    """A server that takes a password in a dialogue alone, and asks for it in its own language."""

    def begin_auth(self, username: str) -> bool:
        """Ask everybody."""
        return True

    def kbdint_auth_supported(self) -> bool:
        """The only way in."""
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        """Ask one hidden question."""
        return "", "", "", [("Kennwort: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        """Compare."""
        return list(responses) == ["geheim"]


async def asking(spec_of: Callable[[int, str], SftpLocationSpec], **options: Any) -> asyncssh.SSHAcceptor:
    """Run such a server."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], server_factory=AsksOnly, sftp_factory=True, **options
    )
    try:
        spec = spec_of(server.get_port(), key.export_public_key().decode().strip())
        await (await SftpRemote.open(spec)).close()
    finally:
        server.close()
        await server.wait_closed()
    return server


async def test_a_password_that_is_asked_for(shared_sshd: Sshd) -> None:
    """Goal: servers that know only the dialogue take a password too. Method: the right one, and a wrong one."""

    def spec(password: str) -> Callable[[int, str], SftpLocationSpec]:
        return lambda port, key: sftp_location(
            shared_sshd, port=port, host_keys=(key,), private_key=None, password=password
        )

    await asking(spec("geheim"))
    with pytest.raises(Denied):
        await asking(spec("falsch"))


async def test_old_servers_need_the_legacy_profile(shared_sshd: Sshd) -> None:
    """Goal: SHA-1 only where the location says so. Method: a server with nothing else, in both profiles."""
    old = {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-sha1"]}

    def spec(algorithms: str) -> Callable[[int, str], SftpLocationSpec]:
        return lambda port, key: sftp_location(
            shared_sshd, port=port, host_keys=(key,), private_key=None, password="geheim", algorithms=algorithms
        )

    await asking(spec("legacy"), **old)
    with pytest.raises(Invalid, match="legacy"):
        await asking(spec("modern"), **old)
