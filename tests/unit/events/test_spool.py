"""The event spool: nothing that a controller has not stored goes away, and the bound holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from msgspec import json

from mft.aio import cancel_and_wait
from mft.events import catalogue
from mft.events.event import Event
from mft.events.spool import Spool
from mft.events.spool_files import Line, Segments


def delivery_of(line: Line) -> str:
    return str(json.decode(line.fields)["delivery"])


def event(id: int, number: int, path: str = "") -> Event:
    entry = catalogue.CATALOGUE[id]
    fields = {"transfer": "out", "delivery": f"d{number}", "path": path or "x" * 100}
    text = f"t {path}"
    return Event(id=id, name=entry.name, severity=entry.severity, at=1.0, instance="a", text=text, fields=fields)


def files_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@contextlib.asynccontextmanager
async def opened(folder: Path, lost: list[int], **more: Any) -> AsyncIterator[Spool]:
    spool = Spool(folder, **more)
    await spool.open()
    try:
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(spool.run(lost.append))
            yield spool
            await cancel_and_wait(writing)
    finally:
        spool.close()


async def test_events_stay_until_every_controller_has_them(tmp_path: Path) -> None:
    """Goal: a restart loses and repeats nothing. Method: two controllers, three lives of the spool."""
    lost: list[int] = []
    async with opened(tmp_path, lost, segment_bytes_max=1000) as spool:
        name = spool.id
        for n in range(20):
            spool.put(event(catalogue.FILE_DELIVERED, n))
            await spool.written()
        spool.put(event(catalogue.LOGIN_ACCEPTED, 99))
        spool.known(["one", "two"], now=1000.0)
        first = await spool.after(0)
        assert [line.sequence for line in first] == list(range(1, 21))
        await spool.stored("one", 20)
        assert len(await spool.after(0)) == 20
    async with opened(tmp_path, lost, segment_bytes_max=1000) as spool:
        assert spool.id == name
        assert len(await spool.after(0)) == 20
        spool.put(event(catalogue.FILE_DELIVERED, 20, "no \udc80 UTF-8"))
        await spool.written()
        await spool.stored("two", 21)
        await spool.stored("one", 21)
        assert files_in(tmp_path) == ["state.json"]
    async with opened(tmp_path, lost) as spool:
        spool.put(event(catalogue.FILE_DELIVERED, 21))
        await spool.written()
        assert [line.sequence for line in await spool.after(21)] == [22]
    assert not lost


async def test_a_line_that_was_cut_off_is_no_harm(tmp_path: Path) -> None:
    """Goal: a crash amid a write costs that event at most. Method: cut the file's end off, go on."""
    async with opened(tmp_path, []) as spool:
        for n in range(3):
            spool.put(event(catalogue.FILE_DELIVERED, n))
        await spool.written()
    file = tmp_path / files_in(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:-10])
    async with opened(tmp_path, []) as spool:
        spool.put(event(catalogue.FILE_DELIVERED, 3))
        await spool.written()
        lines = await spool.after(0)
    assert [(line.sequence, delivery_of(line)) for line in lines] == [(1, "d0"), (2, "d1"), (3, "d3")]


async def test_a_full_spool_loses_what_is_told_again_first(tmp_path: Path) -> None:
    """Goal: deliveries outlast a partner's outage. Method: mostly retries, a bound of twenty events, then more."""
    lost: list[int] = []
    async with opened(tmp_path, lost, bytes_max=6000, segment_bytes_max=700) as spool:
        for n in range(60):
            spool.put(event(catalogue.FILE_DELIVERED if n % 6 == 0 else catalogue.FILE_FAILED_WILL_RETRY, n))
            await spool.written()
        lines = await spool.after(0)
        delivered = [delivery_of(line) for line in lines if line.id == catalogue.FILE_DELIVERED]
        assert delivered == [f"d{n}" for n in range(0, 60, 6)]
        assert len(lines) + sum(lost) == 60
        for n in range(60, 120):
            spool.put(event(catalogue.FILE_DELIVERED, n))
            await spool.written()
        lines = await spool.after(0)
        assert delivery_of(lines[-1]) == "d119"
        assert len(lines) + sum(lost) == 120
    assert sum((tmp_path / name).stat().st_size for name in files_in(tmp_path)) < 9000


async def test_a_disk_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """Goal: events wait in memory meanwhile. Method: a folder that is no folder for a moment."""
    folder = tmp_path / "spool"
    async with opened(folder, [], barrier_s_max=0.1) as spool:
        folder.rename(tmp_path / "away")
        spool.put(event(catalogue.FILE_DELIVERED, 1))
        await spool.written()
        spool.put(event(catalogue.FILE_DELIVERED, 2))
        await spool.written()
        (tmp_path / "away").rename(folder)
        async with asyncio.timeout(30):
            assert [line.sequence for line in await spool.after(0)] == [1, 2]


def test_readers_go_on_where_they_were(tmp_path: Path) -> None:
    """Goal: what was read is not read again. Method: two readers; spoil what they have read, append, read on."""
    segments = Segments(tmp_path, 1_000_000, 1_000_000)
    segments.load()
    lines = [Line.of(n, event(catalogue.FILE_DELIVERED, n, "no \udc80 UTF-8" if n % 2 else "")) for n in range(1, 41)]
    segments.append(lines[:20])
    assert segments.read(0, 500) == tuple(lines[:20])
    assert segments.read(0, 5) == tuple(lines[:5])
    [path] = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.write(b"x")
    segments.append(lines[20:])
    assert segments.read(5, 10) == tuple(lines[5:15])
    assert segments.read(20, 500) == tuple(lines[20:])
    assert segments.read(40, 500) == ()


def test_what_an_append_left_behind_is_not_read(tmp_path: Path) -> None:
    """Goal: a reader meets what counts, and only that. Method: whole lines behind the end, as of a full disk."""
    segments = Segments(tmp_path, 1_000_000, 1_000_000)
    segments.load()
    lines = [Line.of(n, event(catalogue.FILE_DELIVERED, n)) for n in range(1, 41)]
    segments.append(lines[:10])
    [path] = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(b"".join(Line.of(n, event(catalogue.FILE_DELIVERED, 100 + n)).encode() for n in range(11, 15)))
    assert segments.read(4, 500) == tuple(lines[4:10])
    segments.append(lines[10:])
    assert segments.read(10, 500) == tuple(lines[10:])
