"""How we log in at OpenSSH's server: with what the location says, and with nothing else that this machine has."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from mft.errors import Denied
from mft.transfers.remotes.sftp_connect import connect
from tests.integration.transfers.conftest import sftp_location
from tests.rig.password_sshd import PasswordSshd
from tests.rig.processes import ServerProcess
from tests.rig.sshd import Sshd, make_key
from tests.rig.waiting import eventually


@asynccontextmanager
async def ssh_agent(folder: Path, key: Path) -> AsyncIterator[Path]:
    """Run OpenSSH's agent with a key in it; give its socket."""
    if (program := shutil.which("ssh-agent")) is None:
        pytest.skip("ssh-agent is not installed here")
    path = folder / "agent"
    agent = ServerProcess([program, "-D", "-a", path], folder / "agent.log")
    agent.launch()
    try:
        await eventually(lambda: _listens(path), what="the agent listens")
        async with asyncssh.connect_agent(str(path)) as client:
            await client.add_keys([str(key)])
        yield path
    finally:
        agent.kill()


async def _listens(path: Path) -> bool:
    """Say whether somebody answers at this socket; it is there a moment before."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("has_key", [False, True], ids=["no key", "a strange key"])
async def test_the_machines_keys_are_not_used(
    shared_sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_key: bool
) -> None:
    """Goal: what a location does not have lets it in nowhere. Method: the right key in an agent, then in the home.

    The library alone would find either.
    """
    spec = sftp_location(shared_sshd, private_key=make_key(tmp_path / "key").read_text("utf-8") if has_key else None)

    async def check() -> None:
        async with asyncssh.connect(spec.address, spec.port, username=spec.username, known_hosts=None, config=None):
            pass
        with pytest.raises(Denied, match="refuses the login"):
            await connect(spec)

    async with ssh_agent(tmp_path, shared_sshd.key) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        await check()
    monkeypatch.delenv("SSH_AUTH_SOCK")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    shutil.copy(shared_sshd.key, tmp_path / ".ssh" / "id_ed25519")
    await check()


@pytest.mark.parametrize("methods", ["password", "publickey,password"])
async def test_passwords(tmp_path: Path, methods: str) -> None:
    """Goal: a server that wants a password, or a key and then a password, gets them. Method: right, wrong, none."""
    sshd = PasswordSshd(tmp_path / "sshd", methods)
    key = {} if "publickey" in methods else {"private_key": None}
    try:
        await sshd.start()
        with sshd.explained():
            async with await connect(sftp_location(sshd, password=sshd.password, **key)):
                pass
            for wrong in ("wrong", "", None):
                with pytest.raises(Denied, match="refuses the login"):
                    await connect(sftp_location(sshd, password=wrong, **key))
    finally:
        sshd.kill()
