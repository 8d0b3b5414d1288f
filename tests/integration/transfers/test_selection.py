"""Which files a pass finds, in folders as well, and how they are taken there."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mft.errors import Invalid
from mft.events import catalogue
from mft.model.delivery import Term, temp_name
from mft.model.locations import LocalLocationSpec
from mft.transfers.orphans import find_orphans
from mft.transfers.remotes.local import LocalRemote
from mft.transfers.selection import DEPTH_MAX, walk
from mft.transfers.taking import delivery_prefix, new_delivery
from mft.transfers.work import Work
from tests.integration.transfers.conftest import Bench, each_way, from_server
from tests.rig.disks import small_disk


def change(bench: Bench, **changes: Any) -> None:
    """Change the bench's transfer."""
    bench.spec = msgspec.structs.replace(bench.spec, **changes)


def age(path: Path, seconds: float) -> None:
    """Make a file or folder look as if nothing had changed for so long."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
async def local() -> AsyncIterator[LocalRemote]:
    """Give the machine's own files as a remote."""
    remote = LocalRemote(LocalLocationSpec())
    yield remote
    await remote.close()


@each_way
async def test_files_in_folders_keep_their_paths(bench: Bench) -> None:
    """Goal: folders are looked into, hidden ones not, and paths stay. Method: a small tree, then the names again."""
    change(bench, recursive=True)
    for name in ("a", "x/a", "x/y/z/a", ".hidden/a", "x/.hidden"):
        bench.give(name, name.encode())
    assert (await bench.run()).delivered == 3
    assert bench.arrived() == {name: name.encode() for name in ("a", "x/a", "x/y/z/a")}
    assert bench.left() == [".hidden/a", "x/.hidden"]
    assert (bench.out / "x/y/z").is_dir()
    assert list((bench.out / ".mft").iterdir()) == []
    bench.give("x/a", b"again")
    await bench.run(8, sweep=True)
    assert bench.arrived()["x/a"] == b"again"
    assert bench.journal.records == {}


async def test_without_recursion_folders_are_left(bench: Bench) -> None:
    """Goal: nobody is surprised by files from folders. Method: the same tree with the default."""
    bench.give("a")
    bench.give("x/a")
    await bench.run()
    assert bench.left() == ["x/a"]
    assert bench.arrived() == {"a": b"content"}


async def test_the_path_of_a_taken_source_is_known_without_a_record(bench: Bench) -> None:
    """Goal: a crash right after taking loses no folder. Method: taken in a folder, no record; one more, half made."""
    change(bench, recursive=True)
    bench.taken("x/y/a", b"deep")
    half = bench.out / ".mft" / new_delivery(bench.transfer, time.time()) / "x" / "y"
    half.mkdir(parents=True)
    await bench.run()
    assert bench.arrived() == {"x/y/a": b"deep"}
    bench.check_settled()


@from_server
async def test_a_filter_with_a_slash_is_on_the_path(bench: Bench) -> None:
    """Goal: the expression means what the manual says here too. Method: names and paths in one expression."""
    change(bench, recursive=True, source_filter="in/*.csv|*.txt")
    for name in ("a.csv", "in/a.csv", "in/x/a.csv", "in/x/a.txt"):
        bench.give(name)
    await bench.run()
    assert sorted(bench.arrived()) == ["in/a.csv", "in/x/a.txt"]


async def test_too_young_and_too_old_files_are_left(bench: Bench) -> None:
    """Goal: both bounds of a file's age hold. Method: one file on each side of each."""
    change(bench, source_age_min_s=60.0, source_age_max_s=3600.0)
    for name, seconds in (("young", 0), ("right", 600), ("old", 7200)):
        bench.give(name)
        age(bench.out / name, seconds)
    await bench.run()
    assert bench.arrived() == {"right": b"content"}
    assert bench.left() == ["old", "young"]


@from_server
async def test_emptied_folders_go_after_their_time(bench: Bench) -> None:
    """Goal: folders that stay empty go, the source folder never. Method: old and young empty ones, one with a file."""
    change(bench, recursive=True, delete_empty_folders_s=100.0, source_filter="nothing")
    for name in ("old/inner", "young", "used", ".hidden"):
        (bench.out / name).mkdir(parents=True)
    (bench.out / "used" / "other").write_bytes(b"")
    for name in ("old/inner", "used", ".hidden"):
        age(bench.out / name, 1000)
    await bench.run()
    assert {path.name for path in bench.out.iterdir()} == {"old", "young", "used", ".hidden"}
    assert not (bench.out / "old/inner").exists()
    age(bench.out / "old", 1000)
    age(bench.out, 1000)
    await bench.run()
    assert {path.name for path in bench.out.iterdir()} == {"young", "used", ".hidden"}


@from_server
async def test_kept_sources_are_known_by_their_paths(bench: Bench) -> None:
    """Goal: the ledger tells files of one name in two folders apart. Method: two passes, one changed between."""
    change(bench, recursive=True, delete_source=False)
    bench.give("x/a", b"one")
    bench.give("y/a", b"two")
    assert (await bench.run()).delivered == 2
    assert (await bench.run()).delivered == 0
    assert sorted(bench.journal.ledger) == ["x/a", "y/a"]
    bench.give("y/a", b"changed")
    assert (await bench.run()).delivered == 1
    assert bench.arrived() == {"x/a": b"one", "y/a": b"changed"}


async def test_a_file_on_another_file_system_is_said_to_be_one(bench: Bench) -> None:
    """Goal: a mount below the source folder gets a clear error, the rest goes on. Method: a small disk there."""
    change(bench, recursive=True)
    bench.give("a")
    (bench.out / "mounted").mkdir()
    with small_disk(bench.out / "mounted", 64 * 1024):
        bench.give("mounted/b")
        tally = await bench.run()
        assert (tally.delivered, tally.failed) == (1, 1)
        [reason] = [fields["reason"] for event, fields in bench.events if event == catalogue.FILE_FAILED_WILL_RETRY]
        assert "another file system" in reason
        work = Work(await bench.context(), {}, bench.stability, tally)
        [entry] = [entry async for entry, _ in work.sources()]
        for _ in range(9):
            assert await work.begin(entry) is None
        with pytest.raises(Invalid, match="another file system"):
            await work.begin(entry)
        assert bench.left() == ["mounted/b"]


async def test_the_walk_is_bounded_and_survives_changes(local: LocalRemote, tmp_path: Path) -> None:
    """Goal: too deep is told of, vanished is no news. Method: a tree that is too deep."""
    deep = tmp_path.joinpath(*["d"] * (DEPTH_MAX + 3))
    deep.mkdir(parents=True)
    (tmp_path / "goes" / "too").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"")
    skipped: list[str] = []
    names = []
    async for entry in walk(local, str(tmp_path), lambda path, _: skipped.append(path), recursive=True):
        names.append(entry.name)
        if entry.name == "file":
            (tmp_path / "goes" / "too").rmdir()
            (tmp_path / "goes").rmdir()
    assert names == ["file"]
    assert skipped == ["/".join(["d"] * (DEPTH_MAX + 1))]


async def test_what_a_removed_transfer_has_taken_is_told(bench: Bench) -> None:
    """Goal: nothing in `.mft/` is lost silently. Method: a delivery of a transfer that is no longer in the config."""
    stale = bench.out / ".mft" / new_delivery("removed", time.time() - 86400)
    stale.mkdir(parents=True)
    (stale / "a").write_bytes(b"content")
    fresh = bench.out / ".mft" / new_delivery("elsewhere", time.time())
    fresh.mkdir()
    await bench.run(sweep=True)
    told = [fields["path"] for event, fields in bench.events if event == catalogue.TAKEN_IS_ORPHANED]
    assert told == [f"out/.mft/{stale.name}"]
    known = {delivery_prefix("t"), delivery_prefix("removed")}
    remote = (await bench.context()).source
    assert await find_orphans(remote, "out", known, time.time()) == ()
    assert (stale / "a").exists()


async def test_temp_files_of_a_transfer_that_delivers_here(bench: Bench) -> None:
    """Goal: what is not complete is not taken, hidden or not. Method: temp names without a dot, beside a source."""
    delivery = bench.taken("a")
    shutil.rmtree(bench.out / ".mft" / delivery)
    for prefix, suffix in (("", ""), ("", ".part"), ("temp-", ".csv")):
        bench.give(temp_name(delivery, Term("life", 3), "1-0", prefix, suffix))
    bench.give("a.csv")
    assert (await bench.run()).delivered == 1
    assert bench.arrived() == {"a.csv": b"content"}
    assert len(bench.left()) == 3
