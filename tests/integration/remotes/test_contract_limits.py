"""The rest of the contract: parts of files, hashes, and what each remote does when it is full, or given up."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from mft.errors import Exhausted, NotFound, Unavailable
from mft.transfers.remotes.base import PIECE_BYTES
from mft.transfers.remotes.local_content import VISIT_BYTES
from mft.transfers.remotes.pool import KINDS
from tests.integration.remotes.conftest import PLACES, Place, pieces
from tests.rig.disks import small_disk

CONTENT = os.urandom(2 * VISIT_BYTES + 77)
OFFSETS = [1, PIECE_BYTES, VISIT_BYTES + 5, len(CONTENT) - 1, len(CONTENT)]


def test_every_kind_is_held_to_the_contract() -> None:
    """Goal: no remote without it. Method: the kinds that locations may have, and those that are tried here."""
    assert set(PLACES.values()) == set(KINDS)


@pytest.mark.parametrize("offset", OFFSETS)
async def test_read_from_the_middle(place: Place, offset: int) -> None:
    """Goal: a download goes on where it was cut off. Method: places around the borders of pieces, and the end."""
    (place.folder / "file").write_bytes(CONTENT)
    async with place.remote.read(place.path("file"), offset) as content:
        assert b"".join([piece async for piece in content]) == CONTENT[offset:]


@pytest.mark.parametrize("offset", OFFSETS)
async def test_write_from_the_middle(place: Place, offset: int) -> None:
    """Goal: an upload goes on where it is known. Method: what stands there ends there, or is longer and differs."""
    for there in (CONTENT[:offset], CONTENT[:offset] + bytes(len(CONTENT) - offset)):
        (place.folder / "part").write_bytes(there)
        written = await place.remote.write(place.path("part"), pieces(CONTENT[offset:]), offset)
        assert written == len(CONTENT) - offset
        assert (place.folder / "part").read_bytes() == CONTENT


async def test_what_is_gone_on_with_must_be_there(place: Place) -> None:
    """Goal: no file with a hole. Method: go on with a file that is absent, and with one that is too short."""
    with pytest.raises(NotFound):
        await place.remote.write(place.path("absent"), pieces(b"x"), 10)
    assert os.listdir(place.folder) == []


async def test_hash(place: Place, request: pytest.FixtureRequest) -> None:
    """Goal: a remote that can hash does so rightly, the others say so. Method: hashlib beside it; nothing there."""
    (place.folder / "file").write_bytes(CONTENT)
    kind = request.node.callspec.params["place"]
    for _ in range(2):
        found = await place.remote.sha256(place.path("file"))
        assert found == (None if kind in WITHOUT_HASH else hashlib.sha256(CONTENT).hexdigest())
    if kind not in WITHOUT_HASH:
        with pytest.raises(NotFound, match="absent"):
            await place.remote.sha256(place.path("absent"))


WITHOUT_HASH = {"openssh", "own"}


async def test_a_full_disk(place: Place) -> None:
    """Goal: full is told as such, and is no outage; room heals it. Method: a small disk."""
    disk = place.folder / "disk"
    disk.mkdir()
    part = place.path("disk", "part")
    with small_disk(disk, 2 * VISIT_BYTES):
        with pytest.raises(Exhausted):
            await place.remote.write(part, pieces(*[bytes(PIECE_BYTES)] * 12))
        with suppress(NotFound):  # Some servers remove what is not whole.
            await place.remote.remove(part)
        assert await place.remote.write(part, pieces(b"there is room")) == 13


@pytest.mark.parametrize("at_once", [True, False], ids=["abort", "close"])
async def test_given_up_in_the_middle(place: Place, *, at_once: bool) -> None:
    """Goal: who gives up a remote hangs nobody. Method: close it, or abort it, while a file is read and one written."""
    remote, begun = await place.again(), asyncio.Event()
    (place.folder / "file").write_bytes(CONTENT * 4)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            begun.set()
            yield bytes(PIECE_BYTES)
            await asyncio.sleep(0.01)

    async def write() -> None:
        await remote.write(place.path("part"), endless())

    async def give_up() -> None:
        await begun.wait()
        if at_once:
            remote.abort()
        await remote.close()

    async with asyncio.timeout(30):
        wrote, gave_up = await asyncio.gather(write(), give_up(), return_exceptions=True)
        assert gave_up is None
        assert isinstance(wrote, Unavailable)
        with pytest.raises(Unavailable):
            await remote.lstat(place.path("file"))
    assert (await place.remote.lstat(place.path("file"))).size_bytes == 4 * len(CONTENT)
