"""The inbound worker as the agent runs it: a spawned process, frames, and sockets handed over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from mft.events import catalogue
from mft.model.services import ListenerSpec
from mft.worker.frames import (
    Accept,
    Channel,
    Configure,
    Configured,
    Drain,
    Emit,
    Frame,
    Listen,
    Load,
    Ready,
    Report,
    Unlisten,
    encode_config,
)
from tests.integration.inbound.harness import LIMIT_S, Inbound, Keys
from tests.integration.inbound.test_uploads import connect

F = TypeVar("F", bound=Frame)


class Agent:
    """The agent's end of a worker, and a client's view of it: an `Inbound` whose own service does not run."""

    def __init__(self, inbound: Inbound, process: asyncio.subprocess.Process, channel: Channel[Report]) -> None:
        self.inbound = inbound
        self.process = process
        self.channel = channel
        self.reports: list[Report] = []

    async def wait(self, kind: type[F], **fields: object) -> F:
        """Return the first report of this kind with these fields, of those that came or come."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                for known in self.reports:
                    if isinstance(known, kind) and all(getattr(known, k) == v for k, v in fields.items()):
                        self.reports.remove(known)
                        return known
                report = await self.channel.receive()
                assert report is not None, "the worker has ended"
                self.reports.append(report)


@contextlib.asynccontextmanager
async def spawned(inbound: Inbound) -> AsyncIterator[Agent]:
    """Spawn a worker and hand it the config and the socket."""
    ours, theirs = socket.socketpair()
    our_fds, their_fds = socket.socketpair()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mft.worker.main",
        "inbound",
        "test",
        str(theirs.fileno()),
        str(their_fds.fileno()),
        "human:WARNING",
        "0",
        str(os.getpid()),
        pass_fds=(theirs.fileno(), their_fds.fileno()),
    )
    theirs.close()
    their_fds.close()
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=1024 * 1024)
    agent = Agent(inbound, process, Channel(reader, writer, Report))
    try:
        await agent.wait(Ready)
        agent.channel.send(Configure(node="test", version=7, config=encode_config(inbound.config.value)))
        await agent.wait(Configured, version=7)
        socket.send_fds(our_fds, [b"."], [inbound.socket.fileno()])
        agent.channel.send(Listen(service="main"))
        yield agent
    finally:
        agent.channel.close()
        our_fds.close()
        async with asyncio.timeout(LIMIT_S):
            await process.wait()
        assert process.returncode == 0


@pytest.fixture
async def agent(tmp_path: Path, keys: Keys) -> AsyncIterator[Agent]:
    """A worker that serves."""
    inbound = Inbound(tmp_path, keys, ListenerSpec(port=1, host_keys=keys.host))
    try:
        async with spawned(inbound) as agent:
            yield agent
    finally:
        inbound.socket.close()
        inbound.threads.close()
        inbound.passwords.close()


async def test_a_session_through_a_real_worker(agent: Agent, tmp_path: Path) -> None:
    """Goal: all parts together. Method: spawn, configure, listen, OpenSSH up and down; events and load are reported."""
    (tmp_path / "f").write_bytes(os.urandom(3_000_000))
    ran = await agent.inbound.sftp("put f", "get f back", key=False)
    assert ran.status == 0, ran
    assert (tmp_path / "back").read_bytes() == (tmp_path / "f").read_bytes()
    await agent.wait(Load, sessions=1)
    assert (await agent.wait(Emit, event=catalogue.UPLOAD_DONE)).fields["size_bytes"] == 3_000_000
    await agent.wait(Emit, event=catalogue.CONNECTION_CLOSED)
    await agent.wait(Load, sessions=0)


async def test_unlisten_and_listen_again(agent: Agent) -> None:
    """Goal: a restarted service does not wait for old sessions. Method: unlisten with one open, then listen anew."""
    async with connect(agent.inbound) as connection, connection.start_sftp_client() as sftp:
        file = await sftp.open("f", "wb")
        agent.channel.send(Unlisten(service="main", drain_s=30))
        await file.write(b"x")
        await file.close()
        async with asyncio.timeout(LIMIT_S):
            await connection.wait_closed()
    assert (agent.inbound.home / "f").read_text() == "x"


async def test_drain_ends_the_worker(agent: Agent) -> None:
    """Goal: a drained worker ends by itself. Method: drain with an idle session; the process is gone, status 0."""
    async with connect(agent.inbound) as connection:
        await agent.wait(Load, sessions=1)
        agent.channel.send(Accept(on=False))
        agent.channel.send(Drain(drain_s=30))
        async with asyncio.timeout(LIMIT_S):
            await connection.wait_closed()
            await agent.process.wait()


async def test_a_worker_without_agent_ends_at_once(agent: Agent) -> None:
    """Goal: no worker serves by rules that nobody can change. Method: close the channel amid an upload."""
    async with connect(agent.inbound) as connection, connection.start_sftp_client() as sftp:
        file = await sftp.open("f", "wb")
        await file.write(b"x" * 100_000)
        agent.channel.close()
        async with asyncio.timeout(LIMIT_S):
            await agent.process.wait()
        async with asyncio.timeout(LIMIT_S):
            await connection.wait_closed()
    assert os.listdir(agent.inbound.home) == []


async def test_a_service_that_cannot_run_is_named(tmp_path: Path, keys: Keys) -> None:
    """Goal: one bad host key stops one service and says which. Method: a listener with rubbish for a key."""
    inbound = Inbound(tmp_path, keys, ListenerSpec(port=1, host_keys=keys.host))
    spec = msgspec.structs.replace(
        inbound.config.value.services["main"], listener=ListenerSpec(port=1, host_keys=("rubbish",))
    )
    inbound.config.set(msgspec.structs.replace(inbound.config.value, services={"main": spec}))
    try:
        async with spawned(inbound) as agent:
            configured = await agent.wait(Configured)
            assert "host key 1" in configured.problems["main"]
            assert "rubbish" not in str(configured)
    finally:
        inbound.socket.close()
        inbound.threads.close()
        inbound.passwords.close()
