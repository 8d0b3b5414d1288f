"""How many files are on their way at one time, of a transfer and with a partner, and whose turn comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import pytest

from mft.model.config import Config
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import BatchSpec
from mft.transfers.located import LocatedRemote
from mft.transfers.remotes.bundles import WHOLE_BYTES_MAX
from mft.transfers.run import Tally, run_pass
from mft.worker.frames import Commit
from tests.integration.transfers.conftest import Bench, sftp_location
from tests.integration.transfers.files import with_remote
from tests.integration.transfers.test_worker_runs import transfer, working
from tests.rig.sshd import Sshd
from tests.rig.waiting import LIMIT_S, eventually

T = TypeVar("T")

ONE_MORE_S = 0.1
"""Time for one too many to come where nothing keeps it: no state can be waited for that is never to be."""


class Door:
    """Counts the calls inside; lets none out before so many are, and one more would have had the time to come."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._are_inside = asyncio.Event()
        self._inside = 0
        self.most = 0

    def through(self, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """Give the call with this door before it."""

        async def called(*args: Any) -> T:
            self._inside += 1
            self.most = max(self.most, self._inside)
            if self._inside == self._wanted:
                self._are_inside.set()
            try:
                async with asyncio.timeout(LIMIT_S):
                    await self._are_inside.wait()
                await asyncio.sleep(ONE_MORE_S)
                return await call(*args)
            finally:
                self._inside -= 1

        return called


@pytest.mark.parametrize("batch", [None, BatchSpec(marker="*.done")], ids=["alone", "batch"])
async def test_so_many_files_of_a_transfer(bench: Bench, batch: BatchSpec | None) -> None:
    """Goal: `parallel_files` is reached and kept. Method: count what is written; small files, which go in bundles, too.

    A bundle counts as one.
    """
    bench.spec = msgspec.structs.replace(bench.spec, parallel_files=3, batch=batch)
    for number in range(7):
        bench.give(f"large{number}", bytes(WHOLE_BYTES_MAX + 1))
        bench.give(f"small{number}")
    bench.give("all.done")
    context = await bench.context()
    remote: Any = cast(LocatedRemote, context.destination).remote
    door = Door(3)
    held = {step: door.through(getattr(remote, step)) for step in ("write", "write_whole")}
    tally = Tally()
    await run_pass(with_remote(context, "destination", **held), {}, bench.stability, tally, sweep=False)
    assert (tally.delivered, door.most) == (15, 3)
    bench.check_settled()


class Shared:
    """Two transfers with one partner, of which one has more priority; each has three files that fit in no bundle."""

    def __init__(self, folder: Path, sshd: Sshd, files_max: int) -> None:
        self._folder = folder
        self.inbox = folder / "in"
        self.inbox.mkdir()
        for name in ("low", "high"):
            (folder / name).mkdir()
            for number in range(3):
                (folder / name / f"{name}{number}").write_bytes(bytes(100_000))
        self.config = Config(
            locations={
                "here": LocalLocationSpec(root=str(folder)),
                "there": sftp_location(sshd, parallel_files_max=files_max),
            },
            transfers={
                name: transfer(source_path=name, destination_path=str(self.inbox), priority=priority)
                for name, priority in (("low", -10), ("high", 10))
            },
        )

    def taken(self, transfer: str) -> int:
        """Count the files of a transfer that it has taken, so that they wait for their turn or have it."""
        return len(list((self._folder / transfer / ".mft").glob("*/*")))

    def on_their_way(self) -> int:
        """Count the files that stand at the partner under a temp name."""
        return sum(path.name.startswith(".") for path in self.inbox.iterdir())


async def test_more_priority_goes_first(tmp_path: Path, shared_sshd: Sshd) -> None:
    """Goal: who has more priority goes before those that wait longer. Method: one place; the first file is held in it.

    It is held by its intent, which is not agreed to before all others wait.
    """
    shared = Shared(tmp_path, shared_sshd, files_max=1)
    order: list[str] = []
    async with working() as agent:

        async def hold(commit: Commit) -> None:
            if not order:
                agent.begin("high")
                await eventually(lambda: shared.taken("low") == shared.taken("high") == 3)
            order.extend(record.name.rstrip("012") for record in commit.puts.values() if record.state == "intent")

        agent.agree = hold
        await agent.configure(shared.config)
        agent.begin("low")
        ended = await agent.ended(2)
    assert [ran.delivered for ran in ended] == [3, 3]
    assert order == ["low", "high", "high", "high", "low", "low"]


async def test_so_many_files_with_a_partner(tmp_path: Path, shared_sshd: Sshd) -> None:
    """Goal: `parallel_files_max` is reached and kept, by all transfers together. Method: count temp files at commits.

    The first intent is not agreed to before so many stand there, and one more would have had the time to come.
    """
    shared = Shared(tmp_path, shared_sshd, files_max=2)
    seen: list[int] = []
    async with working() as agent:

        async def hold(_: Commit) -> None:
            if not seen:
                await eventually(
                    lambda: shared.on_their_way() >= 2 and shared.taken("low") == shared.taken("high") == 3
                )
                await asyncio.sleep(ONE_MORE_S)
            seen.append(shared.on_their_way())

        agent.agree = hold
        await agent.configure(shared.config)
        ended = await agent.run_all("low", "high")
    assert [ran.delivered for ran in ended] == [3, 3]
    assert max(seen) == 2
