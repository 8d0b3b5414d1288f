"""Bundles of small files where a step breaks, is cancelled, or is slow: once each, and no file waits for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import pytest

from mft.errors import MftError, Unavailable
from mft.events import catalogue
from mft.transfers.bundle import FILES_MAX
from mft.transfers.context import RunContext
from mft.transfers.located import LocatedRemote
from mft.transfers.remotes.base import Entry
from mft.transfers.remotes.bundles import Move, Took
from mft.transfers.run import Tally, run_pass
from tests.integration.transfers.conftest import Bench
from tests.integration.transfers.files import with_remote

FILES = {f"f{number}": f"content {number}".encode() for number in range(FILES_MAX + 4)}
STEPS = ("take_whole", "write_whole", "look_at_all", "rename_all", "remove_taken")
Step = Callable[[Sequence[Any]], Awaitable[list[Any]]]


def role_of(step: str) -> str:
    return "destination" if step in {"write_whole", "rename_all"} else "source"


class Consumer:
    """Takes each file at the partner, so that a second copy would be seen."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.took: Counter[str] = Counter()

    def consume(self) -> None:
        """Take what is there."""
        for name, content in self._bench.arrived().items():
            assert content == FILES[name]
            (self._bench.inbox / name).unlink()
            self.took[name] += 1


def breaking(real: Step, how: str, consumer: Consumer) -> Step:
    """Have a step break, or be cancelled, at its first call: before, halfway or after."""
    calls = 0

    async def step(items: Sequence[Any]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls > 1:
            return await real(items)
        what, _, when = how.partition(" ")
        task = asyncio.current_task()
        assert task is not None
        if what == "cancelled" and when == "meanwhile":
            task.get_loop().call_soon(task.cancel)
            return await real(items)
        done = {"before": 0, "halfway": len(items) // 2, "after": len(items)}[when]
        if done:
            await real(items[:done])
        consumer.consume()
        if what == "broken":
            raise Unavailable("the link broke")
        raise asyncio.CancelledError

    return step


@pytest.mark.parametrize(
    "how", ["broken before", "broken halfway", "broken after", "cancelled halfway", "cancelled meanwhile"]
)
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_breaks(bench: Bench, step: str, how: str) -> None:
    """Goal: once each, told once each. Method: each step breaks or is cancelled, with none, some or all of it done."""
    for name, content in FILES.items():
        bench.give(name, content)
    (bench.out / ".mft").mkdir()
    consumer = Consumer(bench)
    context = await bench.context()
    real = cast(Step, getattr(cast(LocatedRemote, getattr(context, role_of(step))).remote, step))
    context = with_remote(context, role_of(step), **{step: breaking(real, how, consumer)})

    async def make_pass() -> None:
        with suppress(Unavailable):
            await run_pass(context, dict(bench.journal.records), bench.stability, Tally(), sweep=False)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(make_pass(), name="pass")
    consumer.consume()
    for term in (7, 8, 9):
        await bench.run(term, sweep=term > 7)
        consumer.consume()
    assert consumer.took == Counter(dict.fromkeys(FILES, 1))
    bench.check_settled()
    told = [fields["delivery"] for event, fields in bench.events if event == catalogue.FILE_DELIVERED]
    assert len(set(told)) == len(FILES)


def small_ones_first(context: RunContext) -> RunContext:
    """Have the source listed in an order in which small files stand before large ones."""
    remote = cast(LocatedRemote, context.source).remote

    async def scan(folder: str) -> AsyncIterator[Entry]:
        for entry in sorted([entry async for entry in remote.scan(folder)], key=lambda entry: entry.size_bytes):
            yield entry

    return with_remote(context, "source", scan=scan)


async def test_small_files_do_not_wait_for_large_ones(bench: Bench) -> None:
    """Goal: a bundle is not filled for ever. Method: five small files, then more large ones than fit into the queue."""
    for number in range(5):
        bench.give(f"small-{number}", b"small")
    for number in range(40):
        bench.give(f"large-{number}", bytes(100_000))
    context = small_ones_first(await bench.context())
    await run_pass(context, {}, bench.stability, Tally(), sweep=False)
    order = [fields["path"].rpartition("/")[2] for _, fields in bench.events]
    assert len(order) == 45
    assert max(order.index(f"small-{number}") for number in range(5)) < 30


async def test_a_few_that_cannot_be_taken_end_no_pass(bench: Bench) -> None:
    """Goal: as long as others can be taken it is single files. Method: two of each ten cannot, over several bundles."""
    names = [f"f{number:03}" for number in range(8 * FILES_MAX)]
    for name in names:
        bench.give(name)

    def is_stuck(path: str) -> bool:
        return path.endswith(("0", "5"))

    context = await bench.context()
    remote: Any = cast(LocatedRemote, context.source).remote

    async def take_whole(moves: Sequence[Move]) -> list[Took]:
        free = [move for move in moves if not is_stuck(move.name)]
        tooks = dict(zip(free, await remote.take_whole(free), strict=True))
        return [tooks.get(move, Took(is_taken=False)) for move in moves]

    async def rename(old: str, new: str) -> None:
        if is_stuck(old):
            raise MftError("it cannot be renamed")
        await remote.rename(old, new)

    tally = Tally()
    context = with_remote(context, "source", take_whole=take_whole, rename=rename)
    await run_pass(context, {}, bench.stability, tally, sweep=False)
    stuck = [name for name in names if is_stuck(name)]
    assert (tally.delivered, tally.failed) == (len(names) - len(stuck), len(stuck))
    assert bench.left() == stuck
