"""Files that fail by themselves, and what fails for all: who waits, who goes on, what the operator sees."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from mft.errors import Exhausted, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import ArchiveSpec, RetrySpec
from mft.transfers.bundle import FILES_MAX
from mft.transfers.failures import CHANGED, classify
from mft.transfers.located import LocatedRemote
from mft.transfers.remotes.base import Entry
from mft.transfers.run import run_pass
from mft.transfers.work import Tally
from tests.integration.transfers.conftest import Bench
from tests.rig.disks import small_disk


def change(bench: Bench, **changes: Any) -> None:
    """Change the bench's transfer."""
    bench.spec = msgspec.structs.replace(bench.spec, **changes)


def retries(attempts_max: int, first_s: float = 1e-6) -> RetrySpec:
    """Try so often."""
    return RetrySpec(first_s=first_s, most_s=first_s, attempts_max=attempts_max)


def events(bench: Bench, event: int) -> list[Any]:
    """Return the fields of all events of this kind."""
    return [fields for told, fields in bench.events if told == event]


class Obstacle:
    """Makes one file fail by itself: at the destination a file stands where a folder would have to be."""

    name = "bad/file"

    def __init__(self, bench: Bench) -> None:
        self._path = bench.inbox / "bad"

    def put(self) -> None:
        """Put it in the way."""
        self._path.write_bytes(b"in the way")

    def remove(self) -> None:
        """Take it away."""
        self._path.unlink()


@pytest.fixture
def obstacle(bench: Bench) -> Obstacle:
    """Give the bench a file that fails, `bad/file`."""
    change(bench, recursive=True)
    obstacle = Obstacle(bench)
    obstacle.put()
    return obstacle


async def test_a_bad_file_is_put_aside_and_the_rest_goes_on(bench: Bench, obstacle: Obstacle) -> None:
    """Goal: one bad file stops nothing and is not tried for ever. Method: one that fails among others.

    Then what `resend` does: the record says `taken`.
    """
    change(bench, retry=retries(3))
    for name in (obstacle.name, "good1", "good2"):
        bench.give(name)
    tallies = [await bench.run() for _ in range(5)]
    assert [tally.failed for tally in tallies] == [1, 1, 1, 0, 0]
    assert sorted(bench.arrived()) == ["bad", "good1", "good2"]
    [(delivery, record)] = bench.journal.records.items()
    assert (record.state, record.name) == ("quarantined", obstacle.name)
    assert "bad" in record.reason
    [told] = events(bench, catalogue.FILE_QUARANTINED)
    assert (told["attempts"], told["path"]) == (3, "out/bad/file")
    bench.give(obstacle.name, b"newer")
    obstacle.remove()
    await bench.run()
    assert bench.arrived()[obstacle.name] == b"newer", "what is in quarantine holds back nothing"
    await bench.journal.put(delivery, msgspec.structs.replace(record, state="taken"))
    await bench.run(8)
    assert bench.arrived()[obstacle.name] == b"content"
    bench.check_settled()


async def test_a_file_that_failed_waits_longer_each_time(bench: Bench, obstacle: Obstacle) -> None:
    """Goal: a bad file costs little, and newer ones of its name wait. Method: a wait that no test lives to see."""
    change(bench, retry=retries(3, first_s=1000.0))
    bench.give(obstacle.name)
    tallies = [await bench.run() for _ in range(3)]
    assert [tally.failed for tally in tallies] == [1, 0, 0]
    assert all(400 < tally.wait_s <= 1000 for tally in tallies)
    bench.give(obstacle.name, b"newer")
    await bench.run()
    assert obstacle.name in bench.left(), "it is not even taken"
    assert sorted(bench.arrived()) == ["bad"]


async def test_a_quarantined_file_that_the_operator_removed_is_forgotten(bench: Bench, obstacle: Obstacle) -> None:
    """Goal: no record stays for nothing. Method: remove the file from `.mft/`."""
    change(bench, retry=retries(1))
    bench.give(obstacle.name)
    await bench.run()
    [delivery] = bench.journal.records
    (bench.out / ".mft" / delivery / obstacle.name).unlink()
    await bench.run()
    bench.check_settled()


async def test_a_quarantined_file_goes_to_the_folder_for_those(bench: Bench, obstacle: Obstacle) -> None:
    """Goal: with `failure_path` nothing of it stays behind. Method: put one aside."""
    change(bench, retry=retries(1), archive=ArchiveSpec(failure_path="failed", name="exact"))
    (bench.source / "failed").mkdir()
    bench.give(obstacle.name)
    await bench.run()
    obstacle.remove()
    assert (bench.source / "failed" / obstacle.name).read_bytes() == b"content"
    bench.check_settled()


async def test_a_kept_source_in_quarantine_is_tried_when_it_is_another(bench: Bench, obstacle: Obstacle) -> None:
    """Goal: a repaired file is sent by itself, an unchanged one is not tried. Method: fail, then change it."""
    change(bench, retry=retries(1), delete_source=False)
    bench.give(obstacle.name)
    tallies = [await bench.run() for _ in range(3)]
    assert [tally.failed for tally in tallies] == [1, 0, 0]
    obstacle.remove()
    await bench.run()
    assert bench.arrived() == {}
    bench.give(obstacle.name, b"repaired")
    await bench.run()
    assert bench.arrived() == {obstacle.name: b"repaired"}
    assert bench.journal.records == {}


async def test_a_held_delivery_holds_back_newer_ones_of_its_name(bench: Bench) -> None:
    """Goal: an uncertain older file cannot come to stand over a newer. Method: one held, a newer source."""
    delivery = bench.taken("a", b"old")
    bench.intend(delivery, "a")
    record = bench.journal.records[delivery]
    bench.journal.records[delivery] = msgspec.structs.replace(record, state="uncertain", reason="why")
    bench.give("a", b"new")
    bench.give("b")
    await bench.run()
    assert bench.arrived() == {"b": b"content"}
    assert "a" in os.listdir(bench.out)
    await bench.journal.forget(delivery)
    await bench.run()
    await bench.run()
    assert bench.arrived()["a"] == b"new"
    bench.check_settled()


async def test_a_full_destination_harms_no_file(bench: Bench) -> None:
    """Goal: a full disk is waited for, is no file's fault, and what fits still goes. Method: a small disk.

    One file is too large. It is tried again and again without quarantine; when there is room, it arrives.
    """
    change(bench, retry=retries(1), parallel_files=1)
    with small_disk(bench.inbox, 512 * 1024):
        bench.give("large", os.urandom(2_000_000))
        for _ in range(3):
            with pytest.raises(MftError) as caught:
                await bench.run()
        failure = classify(caught.value, "file", (await bench.context()).locations)
        assert (failure.kind, failure.location, failure.counts) == ("transient", "partner", False)
        assert bench.journal.records == {}
        assert bench.temps() == []
        bench.give("small")
        change(bench, retry=retries(1, first_s=1000.0))
        with pytest.raises(Exhausted):
            await bench.run()
        await bench.run()
        assert bench.arrived() == {"small": b"content"}
    change(bench, retry=retries(1))
    bench.memory.retries.forget(next(iter((bench.out / ".mft").iterdir())).name)
    await bench.run(8, sweep=True)
    assert len(bench.arrived()["large"]) == 2_000_000
    bench.check_settled()


@pytest.mark.parametrize("parallel_files", [1, 4], ids=["one by one", "many"])
async def test_a_full_source_harms_no_file(bench: Bench, parallel_files: int) -> None:
    """Goal: where no file can be taken for want of room, that is said, and waited for. Method: a disk full of files.

    With room for one more folder in `.mft/` they arrive, if only a few in each pass.
    """
    change(bench, retry=retries(1), parallel_files=parallel_files)
    with small_disk(bench.out, 1024 * 1024, files_max=30):
        names = [f"f{number:02}" for number in range(20)]
        for name in names:
            bench.give(name)
        for number in range(9):
            (bench.out / f".other{number}").touch()
        for _ in range(3):
            tally = Tally()
            with pytest.raises(Exhausted, match=r"cannot make folder.*No space left"):
                await run_pass(await bench.context(), {}, bench.stability, tally, sweep=False)
            assert tally.failure is not None
            assert (tally.failed, tally.failure.kind, tally.failure.location) == (0, "transient", "source")
        assert [name for name in bench.left() if not name.startswith(".")] == names
        for number in range(2):
            (bench.out / f".other{number}").unlink()
        for _ in names:
            with suppress(Exhausted):
                await bench.run()
        assert bench.arrived() == dict.fromkeys(names, b"content")
        assert events(bench, catalogue.FILE_QUARANTINED) == []
        assert bench.left() == [f".other{number}" for number in range(2, 9)]
        assert bench.journal.records == {}
        assert bench.temps() == []


@pytest.mark.parametrize("trouble", ["full", "mounted"])
async def test_what_is_taken_arrives_while_nothing_can_be_taken(bench: Bench, trouble: str) -> None:
    """Goal: on a full disk that is what makes room. Method: a large taken file, beside new ones that cannot be taken.

    They cannot because the disk is full, or because each is on another file system: twelve are the folder's fault. All
    of that is known while the large file is on its way.
    """
    change(bench, retry=retries(1), recursive=True)
    content = os.urandom(20_000_000)
    (bench.out / "disk").mkdir()
    folder = bench.out if trouble == "full" else bench.out / "disk"
    with small_disk(folder, 32 * 1024 * 1024, files_max=16 if trouble == "full" else 0):
        bench.taken("large", content)
        names = [str((folder / f"f{number:02}").relative_to(bench.out)) for number in range(12)]
        for name in names:
            bench.give(name)
        tally = Tally()
        with pytest.raises(MftError, match=r"No space left|another file system"):
            await run_pass(await bench.context(), {}, bench.stability, tally, sweep=False)
        assert bench.arrived()["large"] == content
        assert tally.failure is not None
        assert tally.failure.kind == ("transient" if trouble == "full" else "configuration")
        assert events(bench, catalogue.FILE_QUARANTINED) == []


async def test_a_closed_destination_is_no_files_fault(bench: Bench) -> None:
    """Goal: a missing or closed folder stops the taking and says so. Method: the folder goes and comes back."""
    change(bench, retry=retries(1), parallel_files=2)
    away = bench.inbox.with_name("away")
    bench.inbox.rename(away)
    for number in range(200):
        bench.give(f"f{number:03}")
    tally = Tally()
    context = await bench.context()
    with pytest.raises(NotFound):
        await run_pass(context, {}, bench.stability, tally, sweep=False)
    assert tally.failure is not None
    assert (tally.failure.kind, tally.failure.location) == ("configuration", "partner")
    untouched = [name for name in bench.left() if not name.startswith(".mft")]
    assert len(untouched) >= 200 - 2 * FILES_MAX, "files are still taken although none can be delivered"
    away.rename(bench.inbox)
    await bench.run(8)
    assert len(bench.arrived()) == 200
    assert events(bench, catalogue.FILE_QUARANTINED) == []
    bench.check_settled()


async def test_a_source_that_changes_is_not_to_blame(bench: Bench) -> None:
    """Goal: a file that is being written is never put aside. Method: its time moves before each attempt."""
    change(bench, retry=retries(1))
    delivery = bench.taken("a")
    path = bench.out / ".mft" / delivery / "a"
    made = await bench.context()
    first = True

    class Writing(LocatedRemote):
        """Writes to the source when it is first looked at."""

        async def lstat(self, path_: str) -> Entry:
            """Write, then look."""
            nonlocal first
            if first and path_.endswith("/a"):
                first = False
                with path.open("ab") as file:
                    file.write(b", more")
            return await super().lstat(path_)

    assert isinstance(made.source, LocatedRemote)
    context = msgspec.structs.replace(made, source=Writing(made.source.remote, "source", "source"))
    tally = Tally()
    await run_pass(context, {}, bench.stability, tally, sweep=False)
    assert (tally.delivered, tally.failed) == (0, 1)
    assert bench.journal.records == {}
    await bench.run()
    assert bench.arrived() == {"a": b"content, more"}
    bench.check_settled()


async def test_a_file_refused_after_its_intent_is_never_put_aside(bench: Bench) -> None:
    """Goal: what may be published already is finished, not given up. Method: a folder under the final name for long."""
    change(bench, retry=retries(2))
    (bench.inbox / "a" / "in the way").mkdir(parents=True)
    delivery = bench.taken("a")
    bench.intend(delivery, "a", bench.temp(delivery))
    for term in range(7, 12):
        assert (await bench.run(term)).failed == 1
    assert [record.state for record in bench.journal.records.values()] == ["intent"]
    (bench.inbox / "a" / "in the way").rmdir()
    (bench.inbox / "a").rmdir()
    await bench.run(20, sweep=True)
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


def test_each_error_is_of_one_class() -> None:
    """Goal: the table in the manual is what the code does. Method: one error of each row."""
    locations = {"here": LocalLocationSpec()}
    assert classify(NotFound("no folder"), "pass", locations).kind == "configuration"
    assert classify(MftError("why", code=CHANGED), "file", locations) == ("file", "", False, False)
    assert classify(MftError("why"), "file", locations) == ("file", "", True, False)


async def test_an_outage_while_files_of_one_name_wait_for_each_other(bench: Bench) -> None:
    """Goal: the outage is what is reported. Method: one is on its way, one waits for it, a third meets the outage."""
    bench.taken("a", b"old" * 1000)
    bench.taken("a", b"new")
    bench.taken("b")

    async def stall(size_bytes: int) -> None:
        if size_bytes > 1000:
            await asyncio.Event().wait()

    bench.journal.before = lambda _delivery, _state: Unavailable("etcd is away")
    context = msgspec.structs.replace(await bench.context(), throttle=stall)
    with pytest.raises(Unavailable, match="etcd is away"):
        await run_pass(context, {}, bench.stability, Tally(), sweep=False)
    bench.journal.before = lambda _delivery, _state: None
    await bench.run(8, sweep=True)
    assert bench.arrived() == {"a": b"new", "b": b"content"}
    bench.check_settled()
