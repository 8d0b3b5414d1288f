"""A local file's content on threads: written in order, no more waiting than may, nothing closed under a thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mft.transfers.remotes import local_content
from mft.transfers.remotes.base import PIECE_BYTES, Content
from mft.transfers.remotes.local_content import VISIT_BYTES, Reading, Writing
from mft.transfers.remotes.visits import Visits
from tests.rig.waiting import eventually

PIECES = 40
CONTENT = os.urandom(PIECES * PIECE_BYTES)


@pytest.fixture
def visits() -> Iterator[Visits]:
    made = Visits(4, "test-content")
    yield made
    made.close()


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield number
    os.close(number)


def pieces() -> Iterator[Content]:
    """Cut the content to pieces."""
    for start in range(0, len(CONTENT), PIECE_BYTES):
        yield memoryview(CONTENT)[start : start + PIECE_BYTES]


class Gate:
    """Stands before what writes: lets nothing through until told to, and may fail at one call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int = 0) -> None:
        self._write = local_content.write_whole
        self._fails_at = fails_at
        self.open = threading.Event()
        self.calls = 0
        monkeypatch.setattr(local_content, "write_whole", self)

    def __call__(self, descriptor: int, pieces: Sequence[Content], offset: int) -> None:
        """Write, or fail."""
        self.open.wait(20)
        self.calls += 1
        if self.calls == self._fails_at:
            raise OSError(28, "No space left on device")
        self._write(descriptor, pieces, offset)


async def test_who_gives_too_much_is_held_up(visits: Visits, descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: storage that stalls costs no memory. Method: a disk that takes nothing for a while, then all."""
    gate = Gate(monkeypatch)
    writing = Writing(visits, descriptor, 0)
    taken = 0

    async def give() -> None:
        nonlocal taken
        for piece in pieces():
            await writing.add(piece)
            taken += 1
        await writing.end()

    async with asyncio.TaskGroup() as tasks:
        giving = tasks.create_task(give(), name="give")
        await eventually(lambda: gate.calls == 0 and taken * PIECE_BYTES >= 3 * VISIT_BYTES, 10, what="a full buffer")
        await asyncio.sleep(0.1)
        assert taken * PIECE_BYTES <= 3 * VISIT_BYTES
        gate.open.set()
        await giving
    await writing.over()
    assert os.pread(descriptor, len(CONTENT) + 1, 0) == CONTENT


async def test_a_write_that_fails_is_told(visits: Visits, descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: nothing is written behind a gap. Method: the second write fails; what stands there is the first alone."""
    gate = Gate(monkeypatch, fails_at=2)
    gate.open.set()
    writing = Writing(visits, descriptor, 0)

    async def give() -> None:
        for piece in pieces():
            await writing.add(piece)
        await writing.end()

    with pytest.raises(OSError, match="No space"):
        await give()
    await writing.over()
    written = os.fstat(descriptor).st_size
    assert gate.calls == 2
    assert 0 < written < len(CONTENT)
    assert os.pread(descriptor, written, 0) == CONTENT[:written]


async def test_it_is_over_when_no_thread_writes(
    visits: Visits, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: no descriptor is closed under a thread. Method: give up while a write stalls."""
    gate = Gate(monkeypatch)
    writing = Writing(visits, descriptor, 0)
    for piece in [*pieces()][: VISIT_BYTES // PIECE_BYTES + 1]:
        await writing.add(piece)
    async with asyncio.TaskGroup() as tasks:
        over = tasks.create_task(writing.over(), name="over")
        await asyncio.sleep(0.1)
        assert not over.done()
        gate.open.set()
    assert gate.calls == 1  # What waited behind it is not written.


async def test_it_is_read_ahead_and_in_order(visits: Visits, descriptor: int) -> None:
    """Goal: content is given as it stands, from the place that was asked for. Method: read from the middle on."""
    os.pwrite(descriptor, CONTENT, 0)
    start = VISIT_BYTES // 2 + 1
    reading = Reading(visits, descriptor, start)
    found = []
    while len(content := await reading.take()) == VISIT_BYTES:
        found.append(content)
    await reading.over()
    assert b"".join([*found, content]) == CONTENT[start:]
