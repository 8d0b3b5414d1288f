"""The partner: OpenSSH's server, and a consumer that takes each file away the moment it appears."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import pwd
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from mft.cli.binaries import find_program
from mft.cli.demo_processes import answers, free_port, running, until
from mft.errors import MftError, Unavailable

REMEDY = "`make setup` fetches it"
INBOX = "inbox"
_START_S_MAX = 20.0
_SEPARATION_FOLDER = Path("/run/sshd")
"""Started as root, Debian's sshd insists on this folder, which only its own service makes."""
_IN_MOVED_TO, _IN_CREATE, _IN_Q_OVERFLOW = 0x80, 0x100, 0x4000
_EVENT = struct.Struct("iIII")
_EVENTS_BYTES = 1 << 16

_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey "{folder}/host_key"
AuthorizedKeysFile "{folder}/authorized_keys"
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 200
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d {home}
"""


class Arrival(NamedTuple):
    """One file that appeared in the inbox under its final name."""

    name: str
    at: float
    """Seconds on the monotonic clock."""
    path: Path
    """Where the consumer put it. Nothing is there if another of that name had already taken its place."""


class Received(Struct, frozen=True, kw_only=True):
    """What the consumer has in the end, compared with what was sent."""

    delivered: int
    """Names that arrived at least once with the right content."""
    lost: tuple[str, ...]
    """Names that never came, or came with another content."""
    duplicates: tuple[str, ...]
    """Names of all arrivals but the first of each name."""


class Consumer:
    """Takes files out of the inbox as they appear, so that a late second copy meets no first one and is seen.

    The kernel reports every name that a file gets in the folder, so none is missed between two looks.
    """

    def __init__(self, inbox: Path, away: Path) -> None:
        self._inbox = inbox
        self._away = away
        self.arrivals: list[Arrival] = []

    async def run(self) -> None:
        """Take files away until cancelled.

        Raises:
            MftError: the kernel could not report all; the counts would not be exact.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(self._inbox), _IN_MOVED_TO | _IN_CREATE) < 0:
            raise MftError(f"the inbox {self._inbox} cannot be watched: {os.strerror(ctypes.get_errno())}")
        loop = asyncio.get_running_loop()
        failed: asyncio.Future[None] = loop.create_future()
        loop.add_reader(watch, self._read, watch, failed)
        try:
            await failed
        finally:
            loop.remove_reader(watch)
            os.close(watch)

    def names(self) -> set[str]:
        """Name all that has arrived."""
        return {arrival.name for arrival in self.arrivals}

    def compare(self, wanted: Mapping[str, str]) -> Received:
        """Compare what arrived with what was sent (name → SHA-256); blocks while it reads all files."""
        seen: set[str] = set()
        right: set[str] = set()
        duplicates = []
        for arrival in self.arrivals:
            if arrival.name in seen:
                duplicates.append(arrival.name)
            seen.add(arrival.name)
            if arrival.path.exists():
                with arrival.path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest == wanted.get(arrival.name):
                    right.add(arrival.name)
        lost = tuple(sorted(wanted.keys() - right))
        return Received(delivered=len(right), lost=lost, duplicates=tuple(duplicates))

    def _read(self, watch: int, failed: asyncio.Future[None]) -> None:
        data = os.read(watch, _EVENTS_BYTES)
        now = time.monotonic()
        offset = 0
        while offset < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, offset)
            name = os.fsdecode(data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0"))
            offset += _EVENT.size + length
            if mask & _IN_Q_OVERFLOW and not failed.done():
                failed.set_exception(
                    MftError("the kernel lost reports of the inbox: nothing can be said of duplicates")
                )
            elif name and not name.startswith("."):
                self._take(name, now)

    def _take(self, name: str, now: float) -> None:
        path = self._away / f"{len(self.arrivals) + 1:04d}-{name}"
        with suppress(FileNotFoundError):
            (self._inbox / name).rename(path)
        self.arrivals.append(Arrival(name, now, path))


class Partner:
    """Where and as whom the partner's server is reached."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.user = _user_name()
        self.inbox = folder / "home" / INBOX
        self.consumer = Consumer(self.inbox, folder / "taken")

    @property
    def private_key(self) -> str:
        """The key that logs in."""
        return (self.folder / "login_key").read_text("utf-8")

    @property
    def host_key(self) -> str:
        """The server's public key, to be pinned: `ssh-ed25519 AAAA…`."""
        return (self.folder / "host_key.pub").read_text("utf-8").strip()


@asynccontextmanager
async def run_partner(folder: Path, log: Path) -> AsyncIterator[Partner]:
    """Run OpenSSH's server in a folder of its own, as the user who runs this, and the consumer beside it.

    Raises:
        NotFound: this machine has no sshd.
        Unavailable: it does not start.
    """
    sshd = find_program("sshd", REMEDY)
    partner = Partner(folder, free_port())
    partner.inbox.mkdir(parents=True)
    (folder / "taken").mkdir()
    await asyncio.to_thread(_prepare, partner)
    # It executes itself anew for each connection, and so insists on being called by its full path.
    async with running("the partner's sshd", [sshd, "-D", "-e", "-f", str(folder / "sshd_config")], log) as program:
        await until(lambda: program.check_running() and answers(partner.port), _START_S_MAX, "the partner's sshd")
        async with asyncio.TaskGroup() as tasks:
            consumer = tasks.create_task(partner.consumer.run(), name="consumer")
            yield partner
            consumer.cancel()


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError as error:
        raise Unavailable(f"user id {os.getuid()} has no name on this machine, so sshd lets nobody log in") from error


def make_key(path: Path, comment: str) -> None:
    """Make an SSH key pair without a passphrase at `path` and `path`.pub.

    Raises:
        NotFound: this machine has no ssh-keygen.
        Unavailable: it failed.
    """
    keygen = find_program("ssh-keygen", REMEDY)
    command = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"ssh-keygen failed: {done.stderr.strip() or done.returncode}")


def _prepare(partner: Partner) -> None:
    """Write keys and configuration."""
    folder = partner.folder
    make_key(folder / "host_key", "partner")
    make_key(folder / "login_key", "mft")
    (folder / "authorized_keys").write_text((folder / "login_key.pub").read_text("utf-8"), "utf-8")
    config = _CONFIG.format(port=partner.port, folder=folder, home=partner.inbox.parent)
    (folder / "sshd_config").write_text(config, "utf-8")
    if os.geteuid() == 0:
        with suppress(OSError):
            _SEPARATION_FOLDER.mkdir(mode=0o755, exist_ok=True)
