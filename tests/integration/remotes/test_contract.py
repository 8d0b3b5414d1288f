"""The contract that each remote keeps: what the delivery protocol relies on, whatever is behind it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from mft.errors import MftError, NotFound
from mft.transfers.remotes.base import PIECE_BYTES
from mft.transfers.remotes.bundles import TakesBundles
from mft.transfers.remotes.local_content import VISIT_BYTES
from tests.integration.remotes.conftest import Place, open_descriptors, pieces
from tests.rig.waiting import eventually

MANY = 5_000
SIZES = [0, 1, 32 * 1024 + 1, PIECE_BYTES, VISIT_BYTES, VISIT_BYTES + 1, 21 * PIECE_BYTES + 7]
UNUSUAL = [
    b"with  spaces ",
    "grün-ファイル-🙂".encode(),
    "e\u0301 is not \u00e9".encode(),
    b"two\nlines\ttab",
    b"back\\slash 'quoted' \"twice\" *?[a]~$(x)",
    b"-rf",
    b"latin-\xfc\xff.csv",
    b"a" * 255,
]


async def read_all(place: Place, *names: str) -> bytes:
    async with place.remote.read(place.path(*names)) as content:
        return b"".join([piece async for piece in content])


async def test_scan_yields_each_name_once(place: Place) -> None:
    """Goal: a listing misses and doubles nothing. Method: 5,000 files, a hidden one, a folder, links."""
    for number in range(MANY):
        (place.folder / f"file-{number}").touch()
    (place.folder / ".hidden").write_bytes(b"12345")
    (place.folder / "folder").mkdir()
    (place.folder / "link").symlink_to(".hidden")
    (place.folder / "dead").symlink_to("nowhere")
    os.utime(place.folder / ".hidden", (1_700_000_000, 1_700_000_000))
    found = [entry async for entry in place.remote.scan(place.path())]
    names = {entry.name: entry for entry in found}
    assert len(found) == len(names) == MANY + 4
    hidden = names[".hidden"]
    assert (hidden.size_bytes, hidden.mtime, hidden.is_file, hidden.is_folder) == (5, 1_700_000_000, True, False)
    assert (names["folder"].is_file, names["folder"].is_folder) == (False, True)
    assert not any(names[link].is_file or names[link].is_folder for link in ("link", "dead"))


async def test_scan_streams(place: Place) -> None:
    """Goal: a huge folder costs no memory, and a listing may be left early. Method: leave at the first name, often."""
    for number in range(1_000):
        (place.folder / f"file-{number}").touch()
    for _ in range(20):
        scan = place.remote.scan(place.path())
        assert await anext(scan)
        assert isinstance(scan, AsyncIterator)
        await scan.aclose()  # type: ignore[attr-defined]
    assert len([entry async for entry in place.remote.scan(place.path())]) == 1_000


async def test_scan_of_what_is_no_folder(place: Place) -> None:
    """Goal: an absent folder is not an empty one. Method: list nothing, and list a file."""
    (place.folder / "file").touch()
    with pytest.raises(NotFound, match="absent"):
        [entry async for entry in place.remote.scan(place.path("absent"))]
    with pytest.raises(MftError, match="file"):
        [entry async for entry in place.remote.scan(place.path("file"))]


async def test_lstat(place: Place) -> None:
    """Goal: what stands under a name is told, not what a link leads to. Method: file, folder, dead link, nothing."""
    (place.folder / "file").write_bytes(b"123")
    (place.folder / "folder").mkdir()
    (place.folder / "dead").symlink_to("nowhere")
    file = await place.remote.lstat(place.path("file"))
    assert (file.name, file.size_bytes, file.is_file, file.is_folder) == ("file", 3, True, False)
    assert abs(file.mtime - (place.folder / "file").stat().st_mtime) <= 1
    assert (await place.remote.lstat(place.path("folder"))).is_folder
    dead = await place.remote.lstat(place.path("dead"))
    assert not dead.is_file
    assert not dead.is_folder
    for absent in (("absent",), ("absent", "below")):
        with pytest.raises(NotFound, match="absent"):
            await place.remote.lstat(place.path(*absent))


async def test_of_two_renames_of_one_source_one_wins(place: Place) -> None:
    """Goal: the fence of every delivery. Method: two connections rename one source at once, fifty times."""
    if not place.remote.source_atomic:
        pytest.skip("this remote says that it is none: its deliveries are uncertain instead")
    other = await place.again()
    for number in range(50):
        (place.folder / "source").write_bytes(b"x")
        results = await asyncio.gather(
            place.remote.rename(place.path("source"), place.path(f"a-{number}")),
            other.rename(place.path("source"), place.path(f"b-{number}")),
            return_exceptions=True,
        )
        lost = [result for result in results if result is not None]
        assert len(lost) == 1
        assert isinstance(lost[0], NotFound)
        assert (place.folder / f"a-{number}").exists() == (results[0] is None)
        assert (place.folder / f"b-{number}").exists() == (results[1] is None)
    assert len(os.listdir(place.folder)) == 50


async def test_rename_replaces_a_file_whole(place: Place) -> None:
    """Goal: a target is the old or the new file at any time, never absent. Method: look while it is replaced."""
    (place.folder / "target").write_bytes(b"old")
    replaced = 0

    async def look() -> None:
        while replaced < 30:
            assert (await place.remote.lstat(place.path("target"))).size_bytes in (3, 4)

    async def replace() -> None:
        nonlocal replaced
        for _ in range(30):
            (place.folder / "temp").write_bytes(b"new!")
            await place.remote.rename(place.path("temp"), place.path("target"))
            replaced += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(look(), name="look")
        tasks.create_task(replace(), name="replace")
    assert (place.folder / "target").read_bytes() == b"new!"
    assert os.listdir(place.folder) == ["target"]


async def test_rename_says_what_is_missing(place: Place) -> None:
    """Goal: "gone" is only what is gone. Method: rename nothing; rename into an absent folder, and onto a folder."""
    with pytest.raises(NotFound):
        await place.remote.rename(place.path("absent"), place.path("b"))
    (place.folder / "file").touch()
    (place.folder / "folder").mkdir()
    with pytest.raises(MftError):
        await place.remote.rename(place.path("file"), place.path("nowhere", "b"))
    with pytest.raises(MftError) as caught:
        await place.remote.rename(place.path("file"), place.path("folder"))
    assert not isinstance(caught.value, NotFound)
    assert (place.folder / "file").exists()


async def test_remove(place: Place) -> None:
    """Goal: one file goes, a link instead of its target, never a folder. Method: remove each, and one twice."""
    (place.folder / "file").touch()
    (place.folder / "kept").touch()
    (place.folder / "link").symlink_to("kept")
    (place.folder / "folder").mkdir()
    await place.remote.remove(place.path("file"))
    await place.remote.remove(place.path("link"))
    with pytest.raises(NotFound):
        await place.remote.remove(place.path("file"))
    with pytest.raises(MftError) as caught:
        await place.remote.remove(place.path("folder"))
    assert not isinstance(caught.value, NotFound)
    assert sorted(os.listdir(place.folder)) == ["folder", "kept"]


async def test_folders(place: Place) -> None:
    """Goal: making one that is there and removing a full one are no errors, and do nothing. Method: do each."""
    await place.remote.make_folder(place.path("one"))
    (place.folder / "one" / "file").touch()
    await place.remote.make_folder(place.path("one"))
    await place.remote.remove_folder(place.path("one"))
    assert (place.folder / "one" / "file").exists()
    (place.folder / "one" / "file").unlink()
    await place.remote.remove_folder(place.path("one"))
    assert not (place.folder / "one").exists()
    with pytest.raises(NotFound):
        await place.remote.remove_folder(place.path("one"))
    with pytest.raises(MftError):
        await place.remote.make_folder(place.path("absent", "below"))
    (place.folder / "file").touch()
    with pytest.raises(MftError):
        await place.remote.make_folder(place.path("file"))


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_content_survives_both_ways(place: Place, size_bytes: int) -> None:
    """Goal: each byte arrives where it was. Method: write and read back sizes around the borders of pieces."""
    content = os.urandom(size_bytes)
    cut = [content[start : start + 700_001] for start in range(0, size_bytes, 700_001)]
    assert await place.remote.write(place.path("file"), pieces(*cut)) == size_bytes
    assert (place.folder / "file").read_bytes() == content
    assert await read_all(place, "file") == content


async def test_many_at_one_time(place: Place) -> None:
    """Goal: files on one connection do not mix. Method: write and read twenty at once, each of its own bytes."""
    contents = [os.urandom(1000 * number) for number in range(20)]
    names = [f"file-{number}" for number in range(20)]
    await asyncio.gather(
        *(
            place.remote.write(place.path(name), pieces(content[:500], content[500:]))
            for name, content in zip(names, contents, strict=True)
        )
    )
    assert await asyncio.gather(*(read_all(place, name) for name in names)) == contents


async def test_write_never_touches_what_is_there(place: Place) -> None:
    """Goal: a temp name is made once. Method: write to a taken name, and through a link."""
    (place.folder / "file").write_bytes(b"kept")
    (place.folder / "link").symlink_to("behind")
    for name in ("file", "link"):
        with pytest.raises(MftError, match=name) as caught:
            await place.remote.write(place.path(name), pieces(b"other"))
        assert not isinstance(caught.value, NotFound)
    assert (place.folder / "file").read_bytes() == b"kept"
    assert sorted(os.listdir(place.folder)) == ["file", "link"]
    with pytest.raises(NotFound):
        await place.remote.write(place.path("absent", "file"), pieces(b"x"))


async def test_a_source_that_fails_ends_the_write(place: Place) -> None:
    """Goal: the source's error comes through, the connection lives on. Method: fail after a piece; read a file then."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * VISIT_BYTES
        raise NotFound("the source vanished")

    (place.folder / "file").write_bytes(b"content")
    with pytest.raises(NotFound, match="the source vanished"):
        await place.remote.write(place.path("part"), broken())
    assert await read_all(place, "file") == b"content"


async def test_read_of_what_cannot_be_read(place: Place) -> None:
    """Goal: a clear error, and no wait. Method: read nothing, and a folder."""
    with pytest.raises(NotFound, match="absent"):
        await read_all(place, "absent")
    (place.folder / "folder").mkdir()
    with pytest.raises(MftError, match="folder"):
        await read_all(place, "folder")


async def test_reading_may_be_left_early(place: Place) -> None:
    """Goal: what is not wanted any more is let go. Method: read only the first piece, often; then the whole."""
    content = os.urandom(3 * VISIT_BYTES)
    (place.folder / "file").write_bytes(content)
    for _ in range(5):
        async with place.remote.read(place.path("file")) as reading:
            piece = await anext(reading)
            assert content.startswith(piece)
    assert await read_all(place, "file") == content


@pytest.mark.parametrize("name", UNUSUAL, ids=range(len(UNUSUAL)))
async def test_unusual_names_survive(place: Place, name: bytes) -> None:
    """Goal: a name is bytes, and stays them. Method: write, list, look at, rename, read and remove under each."""
    text = os.fsdecode(name)
    await place.remote.write(place.path("temp"), pieces(b"content"))
    await place.remote.rename(place.path("temp"), place.path(text))
    assert os.listdir(os.fsencode(place.folder)) == [name]
    assert [entry.name async for entry in place.remote.scan(place.path())] == [text]
    assert (await place.remote.lstat(place.path(text))).name == text
    assert await read_all(place, text) == b"content"
    await place.remote.remove(place.path(text))
    with pytest.raises(NotFound) as caught:
        await place.remote.lstat(place.path(text))
    str(caught.value).encode()  # A message can be logged and sent, whatever the name.
    assert "\n" not in str(caught.value)


async def test_nothing_stays_open(place: Place) -> None:
    """Goal: a service runs for months. Method: do each thing, failing too, and cancel some; count descriptors."""
    (place.folder / "file").write_bytes(os.urandom(3 * VISIT_BYTES))

    def files() -> list[str]:
        return [what for what in open_descriptors() if what.endswith("/file")]

    async def read_for_ever() -> None:
        while True:
            await read_all(place, "file")

    for number in range(6):
        await place.remote.write(place.path(f"new-{number}"), pieces(b"x"))
        with pytest.raises(MftError):
            await place.remote.write(place.path("file"), pieces(b"x"))
        with pytest.raises(NotFound):
            await read_all(place, "absent")
        [entry async for entry in place.remote.scan(place.path())]
        for delay_s in (0, 0.0005, 0.002):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read_for_ever(), delay_s)

    await eventually(lambda: not files(), what="all is closed")


async def test_small_files_many_at_one_time(place: Place) -> None:
    """Goal: each has its own outcome. Method: of a hundred some exist already, or lie nowhere."""
    remote = place.remote
    if not isinstance(remote, TakesBundles):
        pytest.skip("this remote writes files one by one")
    (place.folder / "new-3").write_bytes(b"there before")
    (place.folder / "folder").mkdir()
    contents = {f"new-{number}": os.urandom(number * 320) for number in range(100)} | {"nowhere/x": b"x"}
    before = open_descriptors()
    sizes = await remote.write_whole([(place.path(name), content) for name, content in contents.items()])
    outcome = dict(zip(contents, sizes, strict=True))
    assert outcome.pop("new-3") is None
    assert outcome.pop("nowhere/x") is None
    assert outcome == {name: len(content) for name, content in contents.items() if name in outcome}
    assert (place.folder / "new-3").read_bytes() == b"there before"
    assert all((place.folder / name).read_bytes() == contents[name] for name in outcome)
    names = [(f"new-{number}", f"final-{number}") for number in range(100)]
    names += [("missing", "final-missing"), ("new-1", "folder")]
    (place.folder / "final-5").write_bytes(b"is replaced")
    errors = await remote.rename_all([(place.path(old), place.path(new)) for old, new in names])
    assert errors[:100] == [None] * 100
    assert isinstance(errors[100], NotFound)
    assert isinstance(errors[101], NotFound)
    assert (place.folder / "final-5").read_bytes() == contents["new-5"]
    assert await remote.write_whole([]) == []
    assert await remote.rename_all([]) == []
    assert open_descriptors() <= before
