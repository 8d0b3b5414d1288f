"""OpenSSH's `sftp`, run with a batch of commands: the client that most users have."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.rig.binaries import find

BATCH_LIMIT_S = 90.0


class SftpResult(NamedTuple):
    """What a run of `sftp` came to: exit code, and what it printed."""

    code: int
    output: str
    errors: str


async def sftp_batch(
    port: int,
    user: str,
    commands: Sequence[str],
    *,
    host: str = "127.0.0.1",
    key: Path | None = None,
    password: str | None = None,
    known_hosts: Path | None = None,
    options: Sequence[str] = (),
    limit_s: float = BATCH_LIMIT_S,
    check: bool = True,
) -> SftpResult:
    """Log in by `key` or `password`, run the commands until one fails, and return how that went.

    Without `known_hosts` any host key is accepted. `options` are arguments of `sftp`, such as `-o`, `Ciphers=…`. With
    `check` a failure is an AssertionError with all that `sftp` printed.
    """
    assert (key is None) != (password is None), "one of key and password"
    with tempfile.TemporaryDirectory() as scratch:
        settings = {
            "BatchMode": "no",  # `-b` would set it to yes, and then no password is asked for; the first value counts
            "StrictHostKeyChecking": "yes" if known_hosts else "no",
            "UserKnownHostsFile": str(known_hosts or os.devnull),
            "GlobalKnownHostsFile": os.devnull,
            "LogLevel": "ERROR",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "ConnectTimeout": "60",  # Until the banner: a worker that is just starting on a busy machine has that time.
            "NumberOfPasswordPrompts": "1",
            "PreferredAuthentications": "publickey" if key else "password,keyboard-interactive",
        }
        command = [str(find("sftp")), "-F", os.devnull, "-P", str(port)]
        command += [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        command += ["-i", str(key)] if key else []
        command += [*options, "-b", "-", f"{user}@{host}"]
        environment = dict(os.environ)
        if password is not None:
            askpass = Path(scratch) / "askpass"
            askpass.write_text("#!/bin/sh\nprintf '%s\\n' \"$TEST_PASSWORD\"\n", "utf-8")
            askpass.chmod(0o700)
            environment |= {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "TEST_PASSWORD": password}
        result = await _run(command, "".join(f"{line}\n" for line in commands), environment, limit_s)
    if check:
        assert result.code == 0, f"sftp ended with {result.code}:\n{result.output}{result.errors}"
    return result


async def _run(command: list[str], text: str, environment: dict[str, str], limit_s: float) -> SftpResult:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(limit_s):
            output, errors = await process.communicate(text.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return SftpResult(process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))
