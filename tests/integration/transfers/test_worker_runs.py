"""What an outbound worker tells its agent of a pass: whose fault an error is, when to come again; and its limits."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mft.aio import boottime
from mft.model.config import Config
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import ArchiveSpec, BatchSpec
from mft.model.transfers import TransferSpec
from mft.transfers.taking import new_delivery
from mft.worker.frames import (
    Channel,
    Commit,
    Configure,
    Configured,
    Drain,
    Order,
    Ran,
    Recorded,
    Report,
    Run,
    encode_config,
)
from mft.worker.outbound import OutboundWorker
from tests.integration.transfers.conftest import sftp_location
from tests.rig.sshd import Sshd

ANSWER_S = 60.0


async def agree(_: Commit) -> None:
    """Agree at once."""


class Agent:
    """The agent's end: gives orders, and agrees to every commit."""

    def __init__(self, channel: Channel[Report]) -> None:
        self._channel = channel
        self._runs = 0
        self.agree: Callable[[Commit], Awaitable[None]] = agree
        """Is waited for before a commit is agreed to."""

    async def configure(self, config: Config) -> None:
        """Have the worker use this config."""
        self._channel.send(Configure(node="n", version=1, config=encode_config(config)))
        while not isinstance(await self._receive(), Configured):
            pass

    async def run(self, transfer: str) -> Ran:
        """Have one pass made."""
        return (await self.run_all(transfer))[0]

    async def run_all(self, *transfers: str) -> list[Ran]:
        """Have a pass of each made at the same time; return how they ended, in the order in which they did."""
        for transfer in transfers:
            self.begin(transfer)
        return await self.ended(len(transfers))

    def begin(self, transfer: str) -> None:
        """Have a pass begun."""
        self._runs += 1
        self._channel.send(
            Run(
                run=self._runs,
                transfer=transfer,
                group="g",
                incarnation="life",
                create_revision=7,
                deadline=boottime() + 600,
                records={},
            )
        )

    async def ended(self, count: int) -> list[Ran]:
        """Wait until so many passes have ended; return how, in that order."""
        ended: list[Ran] = []
        while len(ended) < count:
            match await self._receive():
                case Commit(seq=seq) as commit:
                    await self.agree(commit)
                    self._channel.send(Recorded(seq=seq))
                case Ran() as ran:
                    ended.append(ran)
        return ended

    def drain(self) -> None:
        """Let the worker end."""
        self._channel.send(Drain(drain_s=1.0))

    async def _receive(self) -> Report:
        async with asyncio.timeout(ANSWER_S):
            report = await self._channel.receive()
        assert report is not None
        return report


@asynccontextmanager
async def working() -> AsyncIterator[Agent]:
    """Give the agent of a worker that serves in this process."""
    left, right = socket.socketpair()
    near = Channel[Report](*await asyncio.open_unix_connection(sock=left), Report)
    far = Channel[Order](*await asyncio.open_unix_connection(sock=right), Order)
    agent = Agent(near)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(OutboundWorker(far).serve(), name="worker")
        yield agent
        agent.drain()
    near.close()
    far.close()


def transfer(destination: str = "there", **changes: Any) -> TransferSpec:
    """Describe a transfer between two folders."""
    fields: dict[str, Any] = {
        "source_location": "here",
        "source_path": "out",
        "destination_location": destination,
        "destination_path": "",
        "stable_interval_s": 0,
    }
    return TransferSpec(**(fields | changes))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Give a folder with sources, and one to deliver to."""
    for name in ("out", "in"):
        (tmp_path / name).mkdir()
    for number in range(3):
        (tmp_path / "out" / f"f{number}").write_bytes(bytes(100_000))
    return tmp_path


async def test_each_failure_says_whose_fault_it_is(here: Path, shared_sshd: Sshd) -> None:
    """Goal: the agent knows whom to blame. Method: a missing folder, nobody at a port, a wrong host key."""
    (here / "one").mkdir()
    (here / "one" / "file").write_bytes(b"content")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        sshd = sftp_location(shared_sshd)
        away = sftp_location(shared_sshd, address="127.0.0.1", port=nobody.getsockname()[1])
        stranger = sftp_location(shared_sshd, host_keys=("SHA256:" + "A" * 43,))
        config = Config(
            locations={
                "here": LocalLocationSpec(root=str(here)),
                "there": LocalLocationSpec(root=str(here / "in")),
                "sshd": sshd,
                "away": away,
                "stranger": stranger,
            },
            transfers={
                "no-source": transfer(source_path="nowhere"),
                "no-destination": transfer("sshd", source_path="one", destination_path=str(here / "nowhere")),
                "away": transfer("away"),
                "stranger": transfer("stranger"),
                "young": transfer(stable_interval_s=33.0),
                "batch": transfer(batch=BatchSpec(marker="*.done")),
                "good": transfer(),
            },
        )
        async with working() as agent:
            await agent.configure(config)
            told = {id: await agent.run(id) for id in config.transfers if id != "good"}
            good = await agent.run("good")
            gone = await agent.run("gone")
    classes = {id: (ran.error_class, ran.location) for id, ran in told.items()}
    assert classes == {
        "no-source": ("configuration", "here"),
        "no-destination": ("configuration", "sshd"),
        "away": ("partner", "away"),
        "stranger": ("credentials", "stranger"),
        "young": ("", ""),
        "batch": ("", ""),
    }
    assert told["batch"].awaits.endswith("its marker is not there")
    assert told["young"].wait_s == 33.0
    assert gone.error_class == "configuration"
    assert (good.error, good.delivered) == ("", 3)


async def test_limits_are_of_all_that_a_worker_does(here: Path, shared_sshd: Sshd) -> None:
    """Goal: a partner's rate is shared by its transfers, and one place is enough for both. Method: two at one time.

    Six files of 100 kB at 600 kB a second take at least the time of all but the last.
    """
    (here / "other").mkdir()
    for number in range(3):
        (here / "other" / f"g{number}").write_bytes(bytes(100_000))
    partner = sftp_location(shared_sshd, bandwidth_bytes_s=600_000, parallel_files_max=1)
    config = Config(
        locations={"here": LocalLocationSpec(root=str(here)), "there": partner},
        transfers={
            "low": transfer(destination_path=str(here / "in"), priority=-10),
            "high": transfer(destination_path=str(here / "in"), source_path="other", priority=10),
        },
    )
    async with working() as agent:
        await agent.configure(config)
        began = boottime()
        ended = await agent.run_all("low", "high")
        took_s = boottime() - began
    assert [ran.delivered for ran in ended] == [3, 3]
    assert took_s >= 500_000 / 600_000 * 0.95
    assert len(list((here / "in").iterdir())) == 6


async def test_an_archives_limits_count(here: Path, shared_sshd: Sshd) -> None:
    """Goal: what is archived with a partner keeps to that partner's limits. Method: two transfers that send elsewhere.

    Six files of 100 kB at 600 kB a second take at least the time of all but the last.
    """
    (here / "other").mkdir()
    for number in range(3):
        (here / "other" / f"g{number}").write_bytes(bytes(100_000))
    partner = sftp_location(shared_sshd, bandwidth_bytes_s=600_000, parallel_files_max=1)
    archive = ArchiveSpec(location="partner", path=str(here / "kept"), name="exact")
    config = Config(
        locations={
            "here": LocalLocationSpec(root=str(here)),
            "there": LocalLocationSpec(root=str(here / "in")),
            "partner": partner,
        },
        transfers={"t": transfer(archive=archive), "u": transfer(source_path="other", archive=archive)},
    )
    async with working() as agent:
        await agent.configure(config)
        began = boottime()
        ended = await agent.run_all("t", "u")
        took_s = boottime() - began
    assert [ran.delivered for ran in ended] == [3, 3]
    assert took_s >= 500_000 / 600_000 * 0.95
    assert len(list((here / "kept").iterdir())) == 6


@pytest.mark.parametrize("is_kept", [False, True], ids=["taken", "kept"])
async def test_a_name_that_is_no_text(tmp_path: Path, is_kept: bool) -> None:
    """Goal: one such name holds up nobody and is told. Method: several, also in `.mft/`; a good one."""
    out, there = tmp_path / "out", tmp_path / "there"
    left_behind = out / ".mft" / new_delivery("t", 1_700_000_000)
    left_behind.mkdir(parents=True)
    there.mkdir()
    for name in (b"bad\xff.txt", b"worse\xfe/x", b"good"):
        path = out / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"content")
    (left_behind / os.fsdecode(b"old\xff")).write_bytes(b"content")
    here = LocalLocationSpec(root=str(tmp_path))
    spec = TransferSpec(
        source_location="here",
        source_path="out",
        destination_location="here",
        destination_path="there",
        recursive=True,
        delete_source=not is_kept,
        stable_interval_s=0,
    )
    async with working() as agent:
        await agent.configure(Config(locations={"here": here}, transfers={"t": spec}))
        ran = await agent.run("t")
    assert (ran.delivered, ran.failed, ran.error) == (1, 2, "")
    assert [path.name for path in there.iterdir()] == ["good"]
    assert len([path for path in out.rglob("*") if path.is_file()]) == 3 + is_kept
