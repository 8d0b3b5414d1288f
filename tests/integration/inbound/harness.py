"""An SFTP service as a worker runs it, in this process on a free port, and OpenSSH's programs as its clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

from mft.aio import Latest, Threads
from mft.auth.accounts import AccountsMethod
from mft.auth.chain import Chain
from mft.auth.passwords import Passwords
from mft.model.accounts import AccountSpec
from mft.model.config import Config
from mft.model.services import ListenerSpec, SftpServiceSpec
from mft.services.sftp import SftpService

PASSWORD = "correct horse"
LIMIT_S = 30.0


class Keys(NamedTuple):
    """What is slow to make, made once."""

    host: tuple[str, ...]
    hashed: str
    client_private: bytes
    client_public: str


class Ran(NamedTuple):
    """How a client program ended."""

    status: int
    out: str
    err: str


class Inbound:
    """The service and what a test needs around it."""

    def __init__(self, folder: Path, keys: Keys, listener: ListenerSpec, **fields: Any) -> None:
        self.folder = folder
        self.home = folder / "home" / "ann"
        self.keys = keys
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        self.config = Latest(
            Config(
                services={"main": SftpServiceSpec(listener=listener, **fields)},
                accounts={
                    "ann": AccountSpec(
                        password=keys.hashed, ssh_authorized_keys=(keys.client_public,), home_folder_path=str(self.home)
                    ),
                    "off": AccountSpec(
                        password=keys.hashed, enabled=False, home_folder_path=str(folder / "home" / "off")
                    ),
                },
            )
        )
        self.threads = Threads(8, "files")
        self.passwords = Threads(2, "passwords")
        self.service = SftpService(
            "main",
            self.socket,
            config=self.config,
            chain=Chain([AccountsMethod(self.config, Passwords(self.passwords))]),
            threads=self.threads,
            emit=lambda event, fields: self.events.append((event, fields)),
            changed=lambda: None,
        )
        self.key_file = folder / "id_client"
        self.key_file.write_bytes(keys.client_private)
        self.key_file.chmod(0o600)
        self.askpass = folder / "askpass"
        self.askpass.write_text('#!/bin/sh\nprintf "%s\\n" "$TEST_PASSWORD"\n')
        self.askpass.chmod(0o755)

    def of(self, event: int) -> list[dict[str, Any]]:
        """Return the fields of all events with this id."""
        return [fields for id, fields in self.events if id == event]

    def options(self, *, key: bool = False) -> list[str]:
        """Return options that keep OpenSSH's clients away from this host's own settings."""
        options = ["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        options += ["-o", "LogLevel=ERROR", "-o", "IdentityAgent=none", "-o", "GlobalKnownHostsFile=/dev/null"]
        if key:
            return [*options, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", str(self.key_file)]
        return [*options, "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"]

    async def start(self, *command: str, password: str = PASSWORD) -> asyncio.subprocess.Process:
        """Start a client program; its password comes from SSH_ASKPASS."""
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "SSH_ASKPASS": str(self.askpass),
                "SSH_ASKPASS_REQUIRE": "force",
                "TEST_PASSWORD": password,
            },
            cwd=self.folder,
        )

    async def run(self, *command: str, stdin: str = "", password: str = PASSWORD) -> Ran:
        """Run a client program to its end."""
        process = await self.start(*command, password=password)
        try:
            async with asyncio.timeout(LIMIT_S):
                out, err = await process.communicate(stdin.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Ran(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))

    async def sftp(
        self,
        *lines: str,
        user: str = "ann",
        key: bool = True,
        password: str = PASSWORD,
        options: tuple[str, ...] = (),
        port: int = 0,
    ) -> Ran:
        """Run OpenSSH's sftp with these commands; the first that fails ends it (those with `-` before them do not)."""
        if not key:  # A batch file means "never ask for a password"; standard input does not.
            script: tuple[str, ...] = ()
        else:
            script = ("-b", "-")
        command = ("sftp", *options, *self.options(key=key), "-P", str(port or self.port), *script, f"{user}@127.0.0.1")
        return await self.run(*command, stdin="".join(line + "\n" for line in lines), password=password)


async def reach(is_so: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, "was not reached"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(inbound: Inbound) -> AsyncIterator[Inbound]:
    """Serve until the block is left; then nothing of it may be left."""
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(inbound.service.run(), name="service")
            yield inbound
            serving.cancel()
    finally:
        inbound.socket.close()
        inbound.threads.close()
        inbound.passwords.close()
