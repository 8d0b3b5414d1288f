"""The bus never waits, keeps handlers apart, and follows the config while events come."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mft.aio import cancel_and_wait
from mft.events import catalogue
from mft.events.bus import Bus
from mft.model.event_handlers import LocalFileHandlerSpec
from tests.rig.waiting import eventually

FIELDS = {"transfer": "out", "path": "/a.csv", "size_bytes": 12}


def spec(path: Path, **options: str) -> LocalFileHandlerSpec:
    return LocalFileHandlerSpec(path=str(path), **options)  # type: ignore[arg-type]


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


async def written(path: Path, is_right: Callable[[list[str]], bool]) -> list[str]:
    await eventually(lambda: is_right(lines_of(path)), what=f"lines in {path}")
    return lines_of(path)


@asynccontextmanager
async def running(bus: Bus) -> AsyncIterator[Bus]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bus.run(), name="bus")
        yield bus
        await cancel_and_wait(task)


async def test_events_before_the_first_config_are_kept(tmp_path: Path) -> None:
    """Goal: the start itself is logged. Method: emit, then configure."""
    bus = Bus("n1")
    bus.emit(catalogue.INSTANCE_STARTED, {"role": "node", "program": "mft-node"})
    async with running(bus):
        bus.configure({"log": spec(tmp_path / "a.log")})
        await bus.flush(limit_s=30)
    (line,) = lines_of(tmp_path / "a.log")
    assert " n1 20001 info Program mft-node started as node. " in line


async def test_handlers_come_change_and_go_without_loss_to_the_others(tmp_path: Path) -> None:
    """Goal: a config change costs no event. Method: emit steadily while a second handler is added, moved, removed."""
    one, two, three = tmp_path / "1.log", tmp_path / "2.log", tmp_path / "3.log"
    bus = Bus("n1")
    stages = [{"a": spec(one)}, {"a": spec(one), "b": spec(two)}, {"a": spec(one), "b": spec(three)}, {"a": spec(one)}]
    async with running(bus):
        for number, stage in enumerate(stages):
            bus.configure(stage)
            bus.emit(catalogue.FILE_DELIVERED, {**FIELDS, "stage": number})
            # A handler that goes is not waited for, so what it must have is awaited here.
            await bus.flush(limit_s=30)
    assert [line.rpartition("stage=")[2] for line in lines_of(one)] == ["0", "1", "2", "3"]
    assert [line.rpartition("stage=")[2] for line in lines_of(two)] == ["1"]
    assert [line.rpartition("stage=")[2] for line in lines_of(three)] == ["2"]


async def test_configs_in_quick_succession(tmp_path: Path) -> None:
    """Goal: the last config wins, whatever was half done. Method: many configs without a pause, then an event."""
    bus = Bus("n1")
    async with running(bus):
        for number in range(50):
            bus.configure({"a": spec(tmp_path / f"{number % 3}.log"), f"b{number % 2}": spec(tmp_path / "b.log")})
            if number % 7 == 0:
                await asyncio.sleep(0)
        bus.configure({"a": spec(tmp_path / "last.log")})
        bus.emit(catalogue.FILE_DELIVERED, FIELDS)
        await written(tmp_path / "last.log", lambda lines: len(lines) == 1)


async def test_a_failing_handler_holds_up_nobody_and_recovers(tmp_path: Path) -> None:
    """Goal: one bad path costs the others nothing; it is told once, and heals. Method: a folder in the file's place."""
    good, bad = tmp_path / "good.log", tmp_path / "bad.log"
    bad.mkdir()
    bus = Bus("n1")
    async with running(bus):
        bus.configure({"good": spec(good), "bad": spec(bad)})
        bus.emit(catalogue.FILE_DELIVERED, FIELDS)
        lines = await written(good, lambda lines: len(lines) == 2)
        assert " 60012 info " in lines[0]
        assert " 20165 error Event handler event-handlers.bad failed" in lines[1]
        bad.rmdir()
        await written(bad, lambda lines: len(lines) >= 2)
        lines = await written(good, lambda lines: len(lines) == 3)
        assert " 70008 info Event handler event-handlers.bad works again" in lines[2]


async def test_a_hanging_disk_blocks_neither_the_loop_nor_the_others(tmp_path: Path) -> None:
    """Goal: emit never waits; the hanging handler times out, loses information first, says so, and goes on.

    Method: a named pipe that nobody reads, as storage that hangs, and a queue of five.
    """
    pipe, good = tmp_path / "pipe", tmp_path / "good.log"
    os.mkfifo(pipe)
    bus = Bus("n1", queue_events_max=5, handle_s_max=0.2)
    async with running(bus):
        bus.configure({"pipe": spec(pipe), "good": spec(good)})
        bus.emit(catalogue.FILE_DELIVERED, FIELDS)
        await written(good, lambda lines: any(" 20165 " in line for line in lines))
        began = time.monotonic()
        for number in range(100):
            bus.emit(catalogue.FILE_DELIVERED, {**FIELDS, "number": number})
        assert time.monotonic() - began < 10
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            await written(good, lambda lines: any(" 70005 critical " in line for line in lines))
        finally:
            os.close(reader)


async def test_a_bug_in_a_handler_loses_its_batch_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: a mistake is contained at the handler. Method: a field that cannot be shown at all."""

    class Unshowable:
        def __str__(self) -> str:
            raise ValueError("never to be shown")

    bus = Bus("n1")
    async with running(bus):
        bus.configure({"log": spec(tmp_path / "a.log")})
        bus.emit(catalogue.FILE_DELIVERED, {**FIELDS, "odd": Unshowable()})
        lines = await written(tmp_path / "a.log", lambda lines: len(lines) == 3)
    assert [line.split()[2] for line in lines] == ["20165", "70008", "70005"]
    assert "has a bug" in capsys.readouterr().out
