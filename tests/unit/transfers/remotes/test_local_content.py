"""A local file's content on threads: written in order, no more waiting than may, nothing closed under a thread."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from mft.transfers.remotes.base import PIECE_BYTES, Content
from mft.transfers.remotes.local_content import VISIT_BYTES, Reading, Writing
from mft.transfers.remotes.visits import Visit, Visits
from tests.rig.waiting import eventually

P = ParamSpec("P")
T = TypeVar("T")
PIECES = 40
CONTENT = os.urandom(PIECES * PIECE_BYTES)


class Stalling(Visits):
    """Threads of storage that stalls: each call waits there until the gate is open."""

    def __init__(self) -> None:
        super().__init__(4, "test-content")
        self.open = threading.Event()
        self.begun = 0

    def begin(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Visit[T]:
        """Begin a call that stalls first."""

        def stalled() -> T:
            self.begun += 1
            assert self.open.wait(20)
            return call(*args, **kwargs)

        return super().begin(stalled)


@pytest.fixture
def visits() -> Iterator[Visits]:
    made = Visits(4, "test-content")
    yield made
    made.close()


@pytest.fixture
def stalling() -> Iterator[Stalling]:
    made = Stalling()
    yield made
    made.open.set()
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def descriptor(file: Path) -> int:
    """Open a file, which the content closes."""
    return os.open(file, os.O_RDWR | os.O_CREAT)


def content_of(file: Path) -> bytes:
    return file.read_bytes()


def is_open(descriptor: int, file: Path) -> bool:
    """Say whether the descriptor is that of the file."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == str(file)
    except FileNotFoundError:
        return False


def pieces(size_bytes: int = PIECE_BYTES) -> Iterator[Content]:
    """Cut the content to pieces."""
    for start in range(0, len(CONTENT), size_bytes):
        yield memoryview(CONTENT)[start : start + size_bytes]


async def turns() -> None:
    """Let everything on the loop happen that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_gives_too_much_is_held_up(stalling: Stalling, descriptor: int, file: Path) -> None:
    """Goal: storage that stalls costs no memory. Method: a disk that takes nothing for a while, then all."""
    writing = Writing(stalling, descriptor, 0)
    taken_bytes = 0

    async def give() -> None:
        nonlocal taken_bytes
        for piece in pieces():
            await writing.add(piece)
            taken_bytes += len(piece)
        await writing.end()

    async with asyncio.TaskGroup() as tasks:
        giving = tasks.create_task(give(), name="give")
        await eventually(lambda: taken_bytes >= 3 * VISIT_BYTES, 10, what="a full buffer")
        await turns()
        assert taken_bytes <= 3 * VISIT_BYTES
        stalling.open.set()
        await giving
    await writing.close()
    assert content_of(file) == CONTENT


@pytest.mark.parametrize("size_bytes", [100, 1000, VISIT_BYTES + 1])
async def test_pieces_of_any_size_are_written(visits: Visits, descriptor: int, file: Path, size_bytes: int) -> None:
    """Goal: how a partner cuts its content does not matter. Method: more pieces than one call takes, and huge ones."""
    writing = Writing(visits, descriptor, 0)
    for piece in pieces(size_bytes):
        await writing.add(piece)
    await writing.end()
    await writing.close()
    assert content_of(file) == CONTENT


async def test_others_get_the_thread_in_between(descriptor: int, file: Path) -> None:
    """Goal: large files on slow storage hold nobody up. Method: one thread; a call comes while much waits for it."""
    visits, is_free = Visits(1, "test-content"), threading.Event()
    try:
        busy = visits.begin(is_free.wait, 20)
        writing = Writing(visits, descriptor, 0)
        for piece in [*pieces()][: 3 * VISIT_BYTES // PIECE_BYTES]:
            await writing.add(piece)
        look = visits.begin(os.stat, file)
        is_free.set()
        assert await busy
        assert (await look).st_size == VISIT_BYTES
        await writing.end()
        await writing.close()
        assert len(content_of(file)) == 3 * VISIT_BYTES
    finally:
        visits.close()


@pytest.fixture
def short_files() -> Iterator[int]:
    """Let no file become longer than this; the system then refuses as it does on a full disk."""
    most_bytes, before = VISIT_BYTES * 3 // 2, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    yield most_bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_write_that_fails_is_told(visits: Visits, descriptor: int, file: Path, short_files: int) -> None:
    """Goal: nothing is written behind a gap. Method: the second write is cut off; the beginning stands there."""
    writing = Writing(visits, descriptor, 0)

    async def give() -> None:
        for piece in pieces():
            await writing.add(piece)
        await writing.end()

    with pytest.raises(OSError, match="File too large"):
        await give()
    await writing.close()
    assert content_of(file) == CONTENT[:short_files]


@pytest.mark.parametrize("cancellations", [0, 1, 2])
async def test_it_is_closed_when_no_thread_writes(
    stalling: Stalling, descriptor: int, file: Path, cancellations: int
) -> None:
    """Goal: no descriptor is closed under a thread, and none is left open. Method: give up while a write stalls."""
    writing = Writing(stalling, descriptor, 0)
    for piece in [*pieces()][: VISIT_BYTES // PIECE_BYTES + 1]:
        await writing.add(piece)
    await eventually(lambda: stalling.begun, 10, what="a write")
    async with asyncio.TaskGroup() as tasks:
        closing = tasks.create_task(writing.close(), name="close")
        for _ in range(cancellations):
            await turns()
            closing.cancel()
        await turns()
        assert is_open(descriptor, file)
        stalling.open.set()
    await eventually(lambda: not is_open(descriptor, file), 10, what="it is closed")
    assert not content_of(file)  # What was not begun to be written is dropped.


async def test_it_is_closed_when_no_thread_reads(stalling: Stalling, descriptor: int, file: Path) -> None:
    """Goal: as above. Method: give up, twice, while reads stall."""
    reading = Reading(stalling, descriptor, 0)
    reading.go_on()
    await eventually(lambda: stalling.begun == 2, 10, what="reads")
    async with asyncio.TaskGroup() as tasks:
        closing = tasks.create_task(reading.close(), name="close")
        await turns()
        closing.cancel()
        await turns()
        assert closing.cancelled()
        assert is_open(descriptor, file)
        stalling.open.set()
    await eventually(lambda: not is_open(descriptor, file), 10, what="it is closed")


async def test_it_is_read_ahead_and_in_order(visits: Visits, descriptor: int, file: Path) -> None:
    """Goal: content is given as it stands, from the place that was asked for. Method: read from the middle on."""
    os.pwrite(descriptor, CONTENT, 0)
    start = VISIT_BYTES // 2 + 1
    reading = Reading(visits, descriptor, start)
    found = []
    while len(content := await reading.take()) == VISIT_BYTES:
        found.append(content)
    await reading.close()
    assert b"".join([*found, content]) == CONTENT[start:]
    assert not is_open(descriptor, file)
