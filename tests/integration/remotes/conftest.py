"""Remotes to hold to the contract: a folder, OpenSSH's server with SFTP and without, the cluster's own SFTP service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncssh
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mft.auth.passwords import hash_password
from mft.model.locations import LocalLocationSpec, LocationSpec, ScpLocationSpec, SftpLocationSpec
from mft.model.services import ListenerSpec
from mft.services.host_keys import make_host_keys, public_line
from mft.transfers.remotes.base import Remote, join
from mft.transfers.remotes.pool import KINDS
from tests.integration.inbound.harness import PASSWORD, Inbound, Keys, running
from tests.integration.transfers.conftest import sftp_location
from tests.rig.proftpd import PASSWORD as PROFTPD_PASSWORD
from tests.rig.proftpd import Proftpd
from tests.rig.shell_sshd import ShellSshd, find_busybox
from tests.rig.sshd import Sshd
from tests.rig.sshd import running as running_server
from tests.rig.waiting import eventually


def scp_location(sshd: Sshd, **changes: Any) -> ScpLocationSpec:
    """Describe a server without SFTP as a partner."""
    return ScpLocationSpec(**(msgspec.structs.asdict(sftp_location(sshd)) | changes))


class Place:
    """One remote, and the real folder behind it, at which a test can look without it."""

    def __init__(self, remote: Remote, folder: Path, at: str, again: Callable[[], Coroutine[Any, Any, Remote]]) -> None:
        self.remote = remote
        self.folder = folder
        self._at = at
        self.again = again
        """Opens one more remote to the same place."""

    def path(self, *names: str) -> str:
        """Give the remote's path of a name in the folder."""
        return join(self._at, *names)


@asynccontextmanager
async def place_at(spec: LocationSpec, folder: Path, at: str) -> AsyncIterator[Place]:
    """Open a place; nothing of it is left open afterwards."""
    before = open_descriptors()
    opened: list[Remote] = []

    async def again() -> Remote:
        opened.append(await KINDS[type(spec)](spec))
        return opened[-1]

    try:
        yield Place(await again(), folder, at, again)
    finally:
        for remote in opened:
            await remote.close()
    await eventually(lambda: open_descriptors() <= before, what="all is closed")


def open_descriptors() -> set[str]:
    """Return this process's open files and connections: `descriptor what`."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue  # That of the listing itself.
    return found


class Anybody(asyncssh.SSHServer):
    """A server that lets everybody in."""

    def begin_auth(self, username: str) -> bool:
        """Ask for nothing."""
        return False


@pytest.fixture(scope="package")
def shared_sshd(_scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Run one OpenSSH server for all tests here that do it no harm."""
    with running_server(Sshd(tmp_path_factory.mktemp("sshd"))) as server:
        yield server


@pytest.fixture(scope="package")
def proftpd(_scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proftpd]:
    """Run one ProFTPD."""
    with running_server(Proftpd(tmp_path_factory.mktemp("proftpd"))) as server:
        yield server


@pytest.fixture(scope="package")
def shell_sshds(_scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Sshd]]:
    """Run servers without SFTP: with this machine's tools, and, where that is here, with those of busybox."""
    servers = {"scp": ShellSshd(tmp_path_factory.mktemp("shell"))}
    if busybox := find_busybox():
        servers["scp-busybox"] = ShellSshd(tmp_path_factory.mktemp("busybox"), busybox)
    try:
        for server in servers.values():
            asyncio.run(server.start())
        yield servers
    finally:
        for server in servers.values():
            server.kill()


@pytest.fixture(scope="package")
def keys() -> Keys:
    """Host keys, a password's hash and a client's key pair for the cluster's own service."""
    client = Ed25519PrivateKey.generate()
    private = client.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = client.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Keys(make_host_keys(), hash_password(PASSWORD), private, public)


PLACES: Mapping[str, type] = {
    "local": LocalLocationSpec,
    "openssh": SftpLocationSpec,
    "proftpd": SftpLocationSpec,
    "own": SftpLocationSpec,
    "scp": ScpLocationSpec,
    "scp-busybox": ScpLocationSpec,
}
"""Each kind of remote, and what it is behind."""


class Servers(NamedTuple):
    """What runs for all tests here."""

    openssh: Sshd
    proftpd: Proftpd
    shells: Mapping[str, Sshd]


@pytest.fixture(scope="package")
def servers(shared_sshd: Sshd, proftpd: Proftpd, shell_sshds: Mapping[str, Sshd]) -> Servers:
    """Give all of them."""
    return Servers(shared_sshd, proftpd, shell_sshds)


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, servers: Servers, keys: Keys, tmp_path: Path) -> AsyncIterator[Place]:
    """Give each kind of remote in turn."""
    if request.param == "own":
        inbound = Inbound(tmp_path, keys, ListenerSpec(port=1, host_keys=keys.host))
        spec = sftp_location(
            servers.openssh,
            port=inbound.port,
            username="ann",
            private_key=keys.client_private.decode(),
            host_keys=tuple(public_line(key) for key in keys.host),
        )
        inbound.home.mkdir(parents=True)
        async with running(inbound), place_at(spec, inbound.home, "/") as place:
            yield place
        return
    folder = tmp_path / "place"
    folder.mkdir()
    if request.param == "local":
        async with place_at(LocalLocationSpec(root=str(folder)), folder, "") as place:
            yield place
        return
    if request.param.startswith("scp"):
        if request.param not in servers.shells:
            pytest.skip("busybox is not here: run `make setup`")
        async with place_at(scp_location(servers.shells[request.param]), folder, str(folder)) as place:
            yield place
        return
    spec, proftpd = sftp_location(servers.openssh), servers.proftpd
    if request.param == "proftpd":
        login = {"username": proftpd.user, "password": PROFTPD_PASSWORD, "private_key": ""}
        spec = sftp_location(servers.openssh, port=proftpd.port, host_keys=(proftpd.host_key,), **login)
    async with place_at(spec, folder, str(folder)) as place:
        yield place


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    """Give content as a source does."""
    for piece in content:
        yield piece
