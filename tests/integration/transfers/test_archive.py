"""What becomes of sources after their delivery, or when they are given up: kept elsewhere, once, and not for ever."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mft.aio import boottime
from mft.errors import Exhausted, LeadershipLost, MftError, Unavailable
from mft.events import catalogue
from mft.model.delivery import Term, temp_name
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import ArchiveSpec, RetrySpec
from mft.model.transfers import archive_location_of
from mft.transfers.archive import purge_archive
from mft.transfers.failures import classify
from mft.transfers.naming import stamped, unstamped
from mft.transfers.remotes.base import Remote
from tests.integration.transfers.conftest import Bench, from_server, sftp_location
from tests.integration.transfers.files import Asked, reasons, run_with, told, tree
from tests.rig.disks import small_disk
from tests.rig.sshd import Sshd

NOW = 1_800_000_000.0


def archive_in(bench: Bench, **fields: Any) -> Path:
    """Give the transfer an archive in its source's location; return its folder."""
    bench.spec = msgspec.structs.replace(bench.spec, archive=ArchiveSpec(**{"path": "kept/of/t", **fields}))
    return bench.source / "kept" / "of" / "t"


async def elsewhere(bench: Bench, sshd: Sshd, folder: Path, **fields: Any) -> Remote:
    """Give the transfer an archive of another location, of the kind that its destination has; return the remote."""
    archive_in(bench, path=str(folder), location="other", **fields)
    local = isinstance(bench.location, LocalLocationSpec)
    return await bench.pool.get("other", LocalLocationSpec(root="/") if local else sftp_location(sshd))


@from_server
async def test_moved_with_a_time(bench: Bench) -> None:
    """Goal: each delivered source is kept under a name of its own, folders are made. Method: one name, twice."""
    folder = archive_in(bench)
    first, second = bench.taken("a.csv", b"one"), bench.taken("a.csv", b"two")
    assert (await bench.run()).delivered == 2
    names = [stamped("a.csv", 1_700_000_000 + n, id[-6:]) for n, id in enumerate((first, second))]
    assert tree(folder) == dict(zip(names, (b"one", b"two"), strict=True))
    assert told(bench, catalogue.FILE_ARCHIVED) == 2
    bench.check_settled()


async def test_moved_under_exact_names(bench: Bench) -> None:
    """Goal: a later one replaces an earlier. Method: one name, twice."""
    folder = archive_in(bench, name="exact")
    for content in (b"one", b"two"):
        bench.give("a.csv", content)
        await bench.run()
    assert tree(folder) == {"a.csv": b"two"}
    bench.check_settled()


@from_server
async def test_copied_to_another_location(bench: Bench, shared_sshd: Sshd, tmp_path: Path) -> None:
    """Goal: the same at another location, folders are made. Method: a large and an empty file."""
    folder = tmp_path / "archive" / "deep"
    remote = await elsewhere(bench, shared_sshd, folder, name="exact")
    assert archive_location_of(bench.spec) == "other"
    contents = {"large": b"x" * 3_000_000, "empty": b""}
    for name, content in contents.items():
        bench.give(name, content)
    assert (await run_with(bench, archive=remote)).delivered == 2
    assert tree(folder) == contents
    assert sorted(path.name for path in folder.iterdir()) == sorted(contents)
    bench.check_settled()


@pytest.mark.parametrize("how", ["moved", "kept", "elsewhere"])
async def test_copies_keep_to_the_pace(bench: Bench, shared_sshd: Sshd, tmp_path: Path, how: str) -> None:
    """Goal: what is copied into an archive counts towards limits. Method: count what is asked of them; a move is none.

    What is sent is asked of another throttle.
    """
    if how == "elsewhere":
        remote = await elsewhere(bench, shared_sshd, tmp_path / "archive")
    else:
        archive_in(bench)
        remote = None
    bench.spec = msgspec.structs.replace(bench.spec, delete_source=how != "kept")
    sizes = [1_000_000, 7, 0]
    for number, size_bytes in enumerate(sizes):
        bench.give(str(number), bytes(size_bytes))
    sent, archived = Asked(), Asked()
    await run_with(bench, archive=remote, throttle=sent, throttle_archive=archived)
    assert sent.size_bytes == sum(sizes)
    assert archived.size_bytes == (0 if how == "moved" else sum(sizes))
    assert told(bench, catalogue.FILE_ARCHIVED) == len(sizes)


async def test_an_archives_outage_is_its_partners(bench: Bench, shared_sshd: Sshd) -> None:
    """Goal: what fails at an archive elsewhere is laid at that place. Method: a partner, which cannot be reached."""
    archive_in(bench, location="other")
    context = msgspec.structs.replace(await bench.context(), archive_spec=sftp_location(shared_sshd))
    error = Unavailable("cut")
    error.location, error.role = "other", "archive"
    assert classify(error, "file", context.locations).kind == "partner"
    assert set(context.locations) == {"source", "partner", "other"}


@from_server
async def test_a_kept_source_is_copied(bench: Bench) -> None:
    """Goal: a copy flow may archive as well. Method: two passes; the source stays."""
    folder = archive_in(bench, name="exact")
    bench.spec = msgspec.structs.replace(bench.spec, delete_source=False)
    bench.give("a.csv")
    for _ in range(2):
        await bench.run()
    assert tree(folder) == {"a.csv": b"content"}
    assert bench.left() == ["a.csv"]
    assert told(bench, catalogue.FILE_ARCHIVED) == 1


@from_server
@pytest.mark.parametrize("other", [False, True], ids=["moved", "copied"])
@pytest.mark.parametrize("dies_at", ["done", "forget"])
async def test_never_lost(bench: Bench, shared_sshd: Sshd, tmp_path: Path, dies_at: str, other: bool) -> None:
    """Goal: it is archived once under one name, wherever it breaks off. Method: die right after `done`; before the end.

    The consumer takes what arrives, so that a second delivery would show.
    """
    if other:
        folder = tmp_path / "archive"
        remote = await elsewhere(bench, shared_sshd, folder)
    else:
        folder, remote = archive_in(bench), None
    bench.give("a.csv")
    dies = lambda _delivery, state: LeadershipLost("killed") if state == dies_at else None  # noqa: E731
    setattr(bench.journal, "after" if dies_at == "done" else "before", dies)
    with pytest.raises(LeadershipLost):
        await run_with(bench, archive=remote)
    (bench.inbox / "a.csv").unlink()
    bench.journal.before = bench.journal.after = lambda _delivery, _state: None
    await run_with(bench, 8, sweep=True, archive=remote)
    assert tree(bench.inbox) == {}
    assert list(tree(folder).values()) == [b"content"]
    bench.check_settled()


@from_server
async def test_an_archive_that_cannot_be_written(bench: Bench) -> None:
    """Goal: the file is delivered once, its source stays until it is archived, and that is told. Method: a file."""
    folder = archive_in(bench)
    folder.parent.parent.write_bytes(b"a file where a folder should be")
    bench.give("a.csv")
    bench.give("b.csv")
    for _ in range(3):
        try:
            await bench.run()
        except MftError:
            pass
    assert {record.state for record in bench.journal.records.values()} == {"done"}
    assert len(bench.left()) == len(bench.journal.records) > 0
    assert told(bench, catalogue.FILE_NOT_ARCHIVED) >= 3
    assert "is delivered, but cannot be archived" in reasons(bench)[0]
    for path in bench.inbox.iterdir():
        path.unlink()
    folder.parent.parent.unlink()
    await bench.run(8, sweep=True)
    assert sorted(tree(folder).values()) == [b"content"] * 2
    bench.check_settled()


async def test_a_full_archive(bench: Bench) -> None:
    """Goal: an archive that is full harms no file and is waited for; what fits goes. Method: a small disk for it.

    It is below the source's location, but another file system, to which no rename leads: what fits is copied.
    """
    folder = archive_in(bench, name="exact")
    folder.mkdir(parents=True)
    content = os.urandom(2_000_000)
    with small_disk(folder, 512 * 1024):
        bench.give("large", content)
        for first_s in (1e-6, 1e-6, 1000.0):
            bench.spec = msgspec.structs.replace(bench.spec, retry=RetrySpec(first_s=first_s, most_s=first_s))
            with pytest.raises(Exhausted, match=r"is delivered, but cannot be archived.*[Nn]o space"):
                await bench.run()
        assert tree(bench.inbox) == {"large": content}
        assert tree(folder) == {}
        (bench.inbox / "large").unlink()
        bench.give("small")
        await bench.run()
        assert tree(bench.inbox) == tree(folder) == {"small": b"content"}
        (bench.inbox / "small").unlink()
    bench.memory.retries.forget(next(iter(bench.journal.records)))
    await bench.run(8, sweep=True)
    assert tree(bench.inbox) == {}
    assert tree(folder) == {"large": content}
    bench.check_settled()


async def test_given_up_ones_are_moved(bench: Bench) -> None:
    """Goal: quarantine has a folder of its own, if one is named. Method: a rule that fails, few attempts."""
    archive_in(bench, path="", failure_path="failed", name="exact")
    retry = RetrySpec(first_s=1e-6, most_s=1e-6, attempts_max=2)
    bench.spec = msgspec.structs.replace(bench.spec, overwrite_rule="fail", retry=retry)
    (bench.inbox / "a.csv").write_bytes(b"THERE")
    bench.give("a.csv")
    for _ in range(4):
        await bench.run()
    assert tree(bench.source / "failed") == {"a.csv": b"content"}
    assert told(bench, catalogue.FILE_QUARANTINED) == 1
    bench.check_settled()


async def test_what_is_old_goes(bench: Bench, shared_sshd: Sshd, tmp_path: Path) -> None:
    """Goal: only what we archived, only after its days, at most hourly. Method: old, new, foreign and half copies."""
    folder = tmp_path / "archive"
    remote = await elsewhere(bench, shared_sshd, folder, retention_days=30)
    (folder / "sub").mkdir(parents=True)
    day = 86400.0
    old, new = stamped("a.csv", NOW - 31 * day, "ab12cd"), stamped("a.csv", NOW - 29 * day, "ab12cd")
    foreign = [stamped("a.csv", NOW - 100 * day), "a.csv", ".hidden"]
    half = temp_name(bench.taken("x"), Term("life", 3), "1-0")
    for name in (old, new, *foreign, half, f"sub/{old}"):
        (folder / name).write_bytes(b"")
    context = msgspec.structs.replace(await bench.context(), archive=remote)
    assert await purge_archive(context, NOW) == 3
    left = sorted(path.name for path in folder.rglob("*") if path.is_file())
    assert left == sorted([new, *foreign])
    assert await purge_archive(context, NOW + 3000) == 0
    assert await purge_archive(context, NOW + 2 * day) == 1


async def test_an_archive_in_the_destination(bench: Bench, shared_sshd: Sshd) -> None:
    """Goal: an upload that waits for its rename is no half copy of the archive. Method: it waits while that is purged.

    Gone it would count as published.
    """
    remote = await elsewhere(bench, shared_sshd, bench.inbox, retention_days=30)
    delivery = bench.taken("a", b"content")
    bench.intend(delivery, "a", bench.temp(delivery, b"UPLOADED BEFORE"))
    bench.memory.retries.failed(delivery, boottime(), RetrySpec(first_s=1000.0, most_s=1000.0), counts=False)
    await run_with(bench, archive=remote)
    assert tree(bench.inbox) == {}
    bench.memory.retries.forget(delivery)
    await run_with(bench, 8, archive=remote)
    assert tree(bench.inbox)["a"] == b"UPLOADED BEFORE"
    bench.check_settled()


async def test_nothing_goes_without_a_retention(bench: Bench) -> None:
    """Goal: 0 days is for ever, and a folder that is not there is no error. Method: an ancient file; no folder."""
    folder = archive_in(bench)
    assert await purge_archive(await bench.context(), NOW) == 0
    folder.mkdir(parents=True)
    (folder / stamped("a.csv", 1.0, "ab12cd")).write_bytes(b"")
    bench.memory.purged_at = 0.0
    assert await purge_archive(await bench.context(), NOW) == 0


async def test_what_is_old_goes_although_files_fail(bench: Bench) -> None:
    """Goal: on a full disk of the archive room is made. Method: a destination folder that is away; an old file."""
    folder = archive_in(bench, retention_days=30)
    folder.mkdir(parents=True)
    (folder / stamped("old", time.time() - 31 * 86400.0, "ab12cd")).write_bytes(b"")
    bench.spec = msgspec.structs.replace(bench.spec, destination_path=f"{bench.inbox}/away")
    bench.give("a.csv")
    with pytest.raises(MftError):
        await bench.run()
    assert tree(folder) == {}


async def test_a_pass_looks_for_what_is_old(bench: Bench) -> None:
    """Goal: nobody has to ask for it. Method: an old and a new file in an archive; a pass, which delivers a third."""
    folder = archive_in(bench, retention_days=30)
    folder.mkdir(parents=True)
    day, now = 86400.0, time.time()
    old, new = stamped("old", now - 31 * day, "ab12cd"), stamped("new", now - 29 * day, "ab12cd")
    for name in (old, new):
        (folder / name).write_bytes(b"")
    bench.give("a.csv")
    await bench.run()
    assert bench.arrived() == {"a.csv": b"content"}
    [delivered] = tree(folder).keys() - {new}
    assert unstamped(delivered) == "a.csv"
    bench.check_settled()
