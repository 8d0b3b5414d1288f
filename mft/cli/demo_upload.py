"""The demo's customers: OpenSSH's `sftp`, several at one time, each uploading through one node."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mft.cli.binaries import find_program
from mft.cli.demo_files import SampleFile
from mft.cli.demo_partner import REMEDY
from mft.errors import MftError

ACCOUNT = "alice"
_ECHO = b"sftp> put "
"""What `sftp` prints when it begins with a command; so the one before it has succeeded."""


class Customer(NamedTuple):
    """Who uploads: the key that logs in, and where the server's key is remembered."""

    key: Path
    known_hosts: Path

    def command(self, port: int) -> list[str]:
        """Give the `sftp` command line that logs in at this port, and leaves out all that is the user's own."""
        settings = {
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self.known_hosts),
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return ["sftp", "-F", "none", "-P", str(port), "-i", str(self.key), *options, f"{ACCOUNT}@127.0.0.1"]

    async def upload(
        self, files: Sequence[SampleFile], port: int, folder: str, acknowledged: Callable[[SampleFile], None]
    ) -> None:
        """Upload the files one after the other, calling `acknowledged` for each that the server has confirmed.

        Raises:
            NotFound: this machine has no sftp.
            MftError: an upload failed.
        """
        program = find_program("sftp", REMEDY)
        *options, where = self.command(port)[1:]
        process = await asyncio.create_subprocess_exec(
            *(program, "-q", "-b", "-", *options, where),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                assert process.stdin is not None
                assert process.stdout is not None
                assert process.stderr is not None
                errors = tasks.create_task(process.stderr.read(), name=f"sftp-errors:{port}")
                process.stdin.write("".join(f"put {file.path} {folder}/{file.name}\n" for file in files).encode())
                process.stdin.close()
                begun = 0
                async for line in process.stdout:
                    if line.startswith(_ECHO):
                        begun += 1
                        if begun > 1:
                            acknowledged(files[begun - 2])
            if await process.wait():
                said = errors.result().decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
                raise MftError(f"an upload through port {port} failed: {said[-1]}")
            acknowledged(files[-1])
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
