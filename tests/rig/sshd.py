"""A real OpenSSH server on 127.0.0.1: SFTP only, one user (who runs the tests), login by key, its own folder."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from tests.rig.binaries import find
from tests.rig.processes import ServerProcess
from tests.rig.waiting import eventually, free_port

READY_LIMIT_S = 60.0

CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {host_key}
AuthorizedKeysFile {authorized_keys}
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 200
MaxSessions 200
LogLevel VERBOSE
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d {home}
"""


def make_key(path: Path, kind: str = "ed25519") -> Path:
    """Make an SSH key pair without a passphrase at `path` and `path`.pub by ssh-keygen; return `path`."""
    command: list[str | Path] = [find("ssh-keygen"), "-q", "-t", kind, "-N", "", "-C", "test", "-f", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


class Sshd(ServerProcess):
    """One OpenSSH server. `kill` and `pause` take open sessions along; `restart` keeps port, keys and files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.home = folder / "home"
        """Where a client's relative paths lead."""
        self.home.mkdir(exist_ok=True)
        self.key = make_key(folder / "user_key")
        """The private key that logs in."""
        self.host_key = make_key(folder / "host_key").with_suffix(".pub").read_text("utf-8").strip()
        """The server's public key: `ssh-ed25519 AAAA… test`."""
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {self.host_key}\n", "utf-8")
        authorized = folder / "authorized_keys"
        authorized.write_text(self.key.with_suffix(".pub").read_text("utf-8"), "utf-8")
        config = folder / "sshd_config"
        config.write_text(
            CONFIG.format(port=self.port, host_key=folder / "host_key", authorized_keys=authorized, home=self.home),
            "utf-8",
        )
        # sshd executes itself anew for each connection, and so insists on being called by its full path.
        super().__init__([find("sshd"), "-D", "-e", "-f", config], folder / "sshd.log")

    async def start(self) -> None:
        """Start it and wait until it greets."""
        self.launch()
        with self.explained():
            await eventually(self._greets, READY_LIMIT_S, what="sshd greets")

    async def restart(self) -> None:
        """Kill it, with all its sessions, if it runs, and start it again on the same port."""
        self.kill()
        await self.start()

    async def _greets(self) -> bool:
        assert self.running(), "sshd has ended"
        return await greets(self.host, self.port)


async def greets(host: str, port: int) -> bool:
    """Say whether an SSH server greets there."""
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return (await reader.readline()).startswith(b"SSH-2.0-")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


@asynccontextmanager
async def run_sshd(folder: Path) -> AsyncIterator[Sshd]:
    """Run an OpenSSH server in `folder` for as long as the block lasts."""
    sshd = Sshd(folder)
    try:
        await sshd.start()
        with sshd.explained():
            yield sshd
    finally:
        sshd.kill()


class _Starts(Protocol):
    async def start(self) -> None: ...
    def kill(self) -> None: ...


Server = TypeVar("Server", bound=_Starts)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server for as long as the block lasts, where no loop runs: for fixtures that many tests share."""
    try:
        asyncio.run(server.start())
        yield server
    finally:
        server.kill()
