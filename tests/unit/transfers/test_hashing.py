"""Content is hashed in its order, in the loop or beside it, and its beginnings with it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import Iterator

import pytest

from mft.transfers.hashing import Hashing
from mft.transfers.memory import Mark
from mft.transfers.remotes.base import PIECE_BYTES
from mft.transfers.remotes.visits import Visits
from tests.rig.waiting import eventually

_MIB = 1024 * 1024
LARGE = random.Random(7).randbytes(70 * _MIB + 5)
MEDIUM = LARGE[: 12 * _MIB + 3]
SMALL = LARGE[: 3 * _MIB + 1]


@pytest.fixture
def threads() -> Iterator[Visits]:
    made = Visits(1, "test-hashing")
    yield made
    made.close()


def pieces_of(content: bytes, seed: int = 0) -> list[bytes | memoryview]:
    """Cut content into pieces as local storage gives them, or of many sizes, none larger than half a mebibyte."""
    rng, at, pieces, view = random.Random(seed), 0, list[bytes | memoryview](), memoryview(content)
    while at < len(content):
        size = rng.choice((1, 100, 4096, 100_000, PIECE_BYTES, 500_000)) if seed else PIECE_BYTES
        pieces.append(view[at : at + size] if at % 2 else content[at : at + size])
        at += size
    return pieces


async def hashed(hashing: Hashing, content: bytes, seed: int = 0) -> str:
    """Give all of the content; return the digest."""
    for piece in pieces_of(content, seed):
        await hashing.add(piece)
    return await hashing.end()


def check_marks(marks: tuple[Mark, ...], content: bytes) -> None:
    """Compare each place with what hashlib says of it."""
    offsets = [mark.offset_bytes for mark in marks]
    assert offsets == sorted(set(offsets))
    for mark in marks:
        assert mark.sha256.hexdigest() == hashlib.sha256(content[: mark.offset_bytes]).hexdigest()


@pytest.mark.parametrize(
    "content", [b"", b"x", SMALL, MEDIUM, LARGE], ids=["empty", "tiny", "small", "medium", "large"]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
async def test_the_digest_is_that_of_the_whole(threads: Visits, content: bytes, seed: int) -> None:
    """Goal: the same as at once, and each place kept is right. Method: pieces of all sizes; hashlib as the oracle."""
    hashing = Hashing(threads, len(content), is_marked=True)
    assert await hashed(hashing, content, seed) == hashlib.sha256(content).hexdigest()
    check_marks(hashing.marks(), content)
    if seed == 0:
        assert len(hashing.marks()) == min(64, len(content) // (4 * PIECE_BYTES))


async def test_without_threads_it_is_the_same() -> None:
    """Goal: threads are no necessity. Method: none."""
    hashing = Hashing(None, len(MEDIUM), is_marked=True)
    assert await hashed(hashing, MEDIUM, 3) == hashlib.sha256(MEDIUM).hexdigest()
    check_marks(hashing.marks(), MEDIUM)


@pytest.mark.parametrize("content", [SMALL, MEDIUM], ids=["small", "medium"])
async def test_it_goes_on_from_a_place(threads: Visits, content: bytes) -> None:
    """Goal: an attempt goes on from a place, more than once. Method: two go on from the same places."""
    first = Hashing(threads, len(content), is_marked=True)
    await hashed(first, content[:-1])
    known = first.marks()[:2]
    for _ in range(2):
        again = Hashing(threads, len(content), known, is_marked=True)
        assert await hashed(again, content[known[-1].offset_bytes :]) == hashlib.sha256(content).hexdigest()
        assert again.marks()[:2] == known
        check_marks(again.marks(), content)


async def test_a_place_is_known_when_the_thread_has_it(threads: Visits) -> None:
    """Goal: whoever is cut off every other mebibyte gets on. Method: somewhat more than one visit, then a look."""
    hashing = Hashing(threads, len(LARGE), is_marked=True)
    for piece in pieces_of(LARGE)[:5]:
        await hashing.add(piece)
    await eventually(hashing.marks, 30, what="a place")
    assert [mark.offset_bytes for mark in hashing.marks()] == [4 * PIECE_BYTES]
    check_marks(hashing.marks(), LARGE)


async def test_none_are_kept_where_they_are_not_wanted(threads: Visits) -> None:
    """Goal: no copies for nothing. Method: content without marks."""
    hashing = Hashing(threads, len(MEDIUM))
    await hashed(hashing, MEDIUM)
    assert hashing.marks() == ()


async def test_it_waits_for_a_thread_that_is_behind(threads: Visits) -> None:
    """Goal: little is kept, and who waits can be cancelled, at no loss. Method: the only thread is held."""
    may_go_on, given = threading.Event(), list[bytes | memoryview]()
    hashing = Hashing(threads, len(MEDIUM), is_marked=True)
    held = threads.begin(may_go_on.wait, 30)
    left = iter(pieces_of(MEDIUM))

    async def give() -> None:
        for piece in left:
            given.append(piece)
            await hashing.add(piece)

    async with asyncio.TaskGroup() as group:
        giving = group.create_task(give(), name="give")
        await asyncio.wait([giving], timeout=0.2)
        assert not giving.done()
        assert sum(map(len, given)) <= 2 * _MIB
        giving.cancel()
        may_go_on.set()
        await asyncio.wait([giving])
        assert giving.cancelled()
    await held
    for piece in left:
        await hashing.add(piece)
    assert await hashing.end() == hashlib.sha256(MEDIUM).hexdigest()
    check_marks(hashing.marks(), MEDIUM)


async def test_where_many_wait_the_loop_hashes(threads: Visits) -> None:
    """Goal: what waits for busy processors takes no memory. Method: the only thread is held, and others wait for it."""
    may_go_on = threading.Event()
    waiting = [threads.begin(may_go_on.wait, 30) for _ in range(2)]
    assert await hashed(Hashing(threads, len(MEDIUM)), MEDIUM) == hashlib.sha256(MEDIUM).hexdigest()
    may_go_on.set()
    for visit in waiting:
        await visit


async def test_without_a_thread_the_loop_hashes(threads: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a limit of tasks harms no file. Method: threads that do not start."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    hashing = Hashing(threads, len(MEDIUM), is_marked=True)
    assert await hashed(hashing, MEDIUM) == hashlib.sha256(MEDIUM).hexdigest()
    check_marks(hashing.marks(), MEDIUM)
