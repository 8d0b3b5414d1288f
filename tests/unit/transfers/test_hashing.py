"""Content is hashed in its order, in the loop or beside it, and its beginnings with it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading

import pytest

from mft.transfers import hashing
from mft.transfers.hashing import Hashing

LARGE = random.Random(7).randbytes(12 * 1024 * 1024 + 5)
SMALL = LARGE[: 3 * 1024 * 1024 + 1]


def pieces_of(content: bytes, seed: int) -> list[bytes]:
    """Cut content into pieces of many sizes, none larger than half a mebibyte."""
    rng, at, pieces = random.Random(seed), 0, []
    while at < len(content):
        size = rng.choice((1, 100, 4096, 100_000, 258_048, 500_000))
        pieces.append(content[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize("content", [b"", b"x", SMALL, LARGE], ids=["empty", "tiny", "small", "large"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_the_digest_is_that_of_the_whole(content: bytes, seed: int) -> None:
    """Goal: the same as at once, and each place kept is right. Method: pieces of all sizes; hashlib as the oracle."""
    hashed = Hashing(len(content), is_marked=True)
    for piece in pieces_of(content, seed):
        await hashed.add(piece)
    assert await hashed.end() == hashlib.sha256(content).hexdigest()
    assert len(hashed.marks) >= len(content) // (2 * 1024 * 1024)
    offsets = [mark.offset_bytes for mark in hashed.marks]
    assert offsets == sorted(set(offsets))
    for mark in hashed.marks:
        assert mark.sha256.hexdigest() == hashlib.sha256(content[: mark.offset_bytes]).hexdigest()


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_it_goes_on_from_a_place(content: bytes) -> None:
    """Goal: an attempt goes on from a place, more than once. Method: two go on from the same places."""
    first = Hashing(len(content), is_marked=True)
    for piece in pieces_of(content, 3)[:-1]:
        await first.add(piece)
    known = tuple(first.marks)[:2]
    for _ in range(2):
        again = Hashing(len(content), known, is_marked=True)
        await again.add(content[known[-1].offset_bytes :])
        assert await again.end() == hashlib.sha256(content).hexdigest()
        assert tuple(again.marks)[:2] == known


async def test_none_are_kept_where_they_are_not_wanted() -> None:
    """Goal: no copies for nothing. Method: a large content without marks."""
    hashed = Hashing(len(LARGE))
    for piece in pieces_of(LARGE, 4):
        await hashed.add(piece)
    await hashed.end()
    assert not hashed.marks


async def test_it_waits_for_a_thread_that_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: no more than two mebibytes are kept, and who waits can be cancelled. Method: a thread that stands still."""
    may_go_on, given = threading.Event(), 0

    def stand_still(sha256: object, pieces: list[bytes]) -> int:
        assert may_go_on.wait(30)
        return sum(map(len, pieces))

    hashed = Hashing(len(LARGE))

    async def give() -> None:
        nonlocal given
        async with asyncio.timeout(0.2):
            for piece in pieces_of(LARGE, 5):
                await hashed.add(piece)
                given += len(piece)

    async def release() -> None:
        await asyncio.sleep(0.5)
        may_go_on.set()

    monkeypatch.setattr(hashing, "_hash", stand_still)
    async with asyncio.TaskGroup() as group:
        group.create_task(release(), name="release")
        with pytest.raises(TimeoutError):
            await give()
        assert may_go_on.is_set(), "it was told while the thread still used the digest"
    assert given <= 3 * 1024 * 1024
