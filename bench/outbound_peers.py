"""How the programs that users would take instead send the same files to the same server: one function each."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from bench.peers import peer
from tests.rig.binaries import find
from tests.rig.sshd import Sshd

PEER_S_MAX = 3600
CIPHER = "aes128-gcm@openssh.com"
"""The quickest one on processors with AES instructions; OpenSSH's client would take ChaCha20 by itself."""


async def timed(command: list[str], text: str = "", environment: Mapping[str, str] | None = None) -> float:
    """Run a command to its end and return the seconds from its start; it must succeed."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(PEER_S_MAX):
        _, errors = await process.communicate(text.encode())
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}:\n{errors.decode('utf-8', 'replace')[-2000:]}")
    return time.monotonic() - began


def _ssh_options(sshd: Sshd, cipher: str) -> list[str]:
    settings = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(sshd.known_hosts),
        "GlobalKnownHostsFile": os.devnull,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "LogLevel": "ERROR",
        **({"Ciphers": cipher} if cipher else {}),
    }
    return ["-F", os.devnull, "-i", str(sshd.key), *(f"-o{name}={value}" for name, value in settings.items())]


async def sftp(sshd: Sshd, commands: str, cipher: str = CIPHER) -> float:
    """Run OpenSSH's sftp on a batch of commands."""
    options = _ssh_options(sshd, cipher)
    command = [str(find("sftp")), *options, "-P", str(sshd.port), "-b", "-", f"{sshd.user}@{sshd.host}"]
    return await timed(command, commands)


async def rclone(sshd: Sshd, source: str, destination: str, transfers: int) -> float:
    """Run `rclone copy` with all that would slow it down for nothing switched off. `:sftp:PATH` is at the server."""
    settings = {
        "sftp-host": sshd.host,
        "sftp-port": str(sshd.port),
        "sftp-user": sshd.user,
        "sftp-key-file": str(sshd.key),
        "sftp-known-hosts-file": str(sshd.known_hosts),
        "sftp-set-modtime": "false",
        "sftp-disable-hashcheck": "true",
        "sftp-shell-type": "none",
        "sftp-idle-timeout": "0",
        "config": "",
        "transfers": str(transfers),
        "checkers": str(transfers),
        "stats": "0",
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return await timed([str(peer("rclone")), "copy", *flags, "--no-traverse", "--ignore-checksum", source, destination])


async def lftp(sshd: Sshd, command: str) -> float:
    """Run one command of lftp on a session with the server."""
    ssh = " ".join([str(find("ssh")), "-a", "-x", *_ssh_options(sshd, CIPHER)])
    script = (
        f'set sftp:connect-program "{ssh}"; set net:max-retries 1; set cmd:fail-exit yes; set sftp:auto-confirm no; '
        f"open -u {sshd.user},none -p {sshd.port} sftp://{sshd.host}; {command}"
    )
    return await timed([str(peer("lftp")), "-c", script], environment={"HOME": str(Path(sshd.log).parent)})
