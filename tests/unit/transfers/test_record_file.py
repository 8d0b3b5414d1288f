"""The files of committed records on a real disk: torn, full, killed in the middle, turned over at midnight."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mft.model.delivery import Kept, Record, Term
from mft.transfers import record_file
from mft.transfers.record_file import KEPT_DAYS, Committed, RecordFile, read_records
from tests.rig.waiting import eventually

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC).timestamp()
DAY_S = 86400.0


def committed(number: int, at: float = NOON, **more: object) -> Committed:
    """Make an entry that can be told from others."""
    fields: dict[str, object] = {
        "at": at,
        "term": Term("life", 7),
        "revision": number,
        "transfer": "out",
        "delivery": f"d{number}",
        "record": Record(state="intent", name="a.csv", names=("temp",)),
    }
    return Committed(**(fields | more))  # type: ignore[arg-type]


class Clock:
    """A clock that stands still until it is set, and what the file has told."""

    def __init__(self) -> None:
        self.now = NOON
        self.told: list[tuple[str, int]] = []

    def read(self) -> float:
        """Give the time."""
        return self.now

    def tell(self, reason: str, lost: int) -> None:
        """Take note of it."""
        self.told.append((reason, lost))


@asynccontextmanager
async def writing(folder: Path, clock: Clock) -> AsyncIterator[RecordFile]:
    """Write beside the block; at its end all is written."""
    file = RecordFile(folder, clock.tell, clock.read)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(file.run(), name="records")
        await asyncio.sleep(0)
        yield file
        task.cancel()


def _has(folder: Path, revision: int) -> bool:
    return revision in revisions(folder)


def revisions(folder: Path, since: float = 0.0) -> list[int]:
    """Give the revisions of all entries that can be read."""
    return [entry.revision for entry in read_records(folder, since)]


async def test_what_was_noted_is_read(tmp_path: Path) -> None:
    """Goal: every field comes back, in order. Method: write, read."""
    entries = [
        committed(1),
        committed(2, record=Record(state="done", name="ü", kept=Kept(3, 5.25, 9)), path="ü", kept=Kept(3, 5.25)),
        committed(3, record=None, delivery="d1"),
        committed(4, record=None, delivery="", path="a.csv"),
    ]
    clock = Clock()
    async with writing(tmp_path / "records", clock) as file:
        for entry in entries:
            file.note(entry)
        await eventually(lambda: len(revisions(tmp_path / "records")) == 4, what="written while it runs")
    assert list(read_records(tmp_path / "records")) == entries
    assert clock.told == []
    assert (tmp_path / "records").stat().st_mode & 0o77 == 0


async def test_a_day_has_its_file_and_thirty_are_kept(tmp_path: Path) -> None:
    """Goal: files turn over at midnight and do not pile up. Method: set the clock day after day; read since a day."""
    clock = Clock()
    async with writing(tmp_path, clock) as file:
        for day in range(KEPT_DAYS + 5):
            clock.now = NOON + day * DAY_S
            file.note(committed(day, clock.now))
            await eventually(partial(_has, tmp_path, day), what="written")
    assert len(os.listdir(tmp_path)) == KEPT_DAYS + 1
    assert revisions(tmp_path) == list(range(4, KEPT_DAYS + 5))
    assert revisions(tmp_path, NOON + (KEPT_DAYS + 3) * DAY_S) == [KEPT_DAYS + 3, KEPT_DAYS + 4]
    assert revisions(tmp_path, NOON + (KEPT_DAYS + 3) * DAY_S + 1) == [KEPT_DAYS + 4]


async def test_a_file_may_be_removed_while_all_are_read(tmp_path: Path) -> None:
    """Goal: who reads at midnight reads on. Method: remove a file once the one before it is begun."""
    clock = Clock()
    async with writing(tmp_path, clock) as file:
        for day in range(3):
            clock.now = NOON + day * DAY_S
            file.note(committed(day, clock.now))
            await eventually(partial(_has, tmp_path, day), what="written")
    entries = read_records(tmp_path)
    assert next(entries).revision == 0
    (tmp_path / sorted(os.listdir(tmp_path))[1]).unlink()
    assert [entry.revision for entry in entries] == [2]


async def test_a_torn_end_is_the_only_loss(tmp_path: Path) -> None:
    """Goal: wherever a crash cut a file off, all whole entries are read. Method: cut it at every byte; damage it."""
    async with writing(tmp_path / "whole", Clock()) as file:
        for number in range(5):
            file.note(committed(number))
    (name,) = os.listdir(tmp_path / "whole")
    data, torn = (tmp_path / "whole" / name).read_bytes(), tmp_path / "torn"
    torn.mkdir()
    copy = torn / name
    seen = set[int]()
    with capture_logs() as told:
        for size in range(len(data) + 1):
            copy.write_bytes(data[:size])
            found = revisions(torn)
            assert found == list(range(len(found)))
            seen.add(len(found))
        assert seen == {0, 1, 2, 3, 4, 5}
        copy.write_bytes(data + bytes(4096))  # As some file systems leave it after a power failure.
        assert revisions(torn) == [0, 1, 2, 3, 4]
        middle = len(data) // 2
        copy.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        assert revisions(torn) == [0, 1]
    assert {line["event"] for line in told} == {"records: the file ends in a torn entry"}


async def test_a_later_start_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Goal: nothing is written behind a torn end. Method: cut a file off, go on in the same folder, read both."""
    async with writing(tmp_path, Clock()) as file:
        file.note(committed(1))
        file.note(committed(2))
    (first,) = os.listdir(tmp_path)
    os.truncate(tmp_path / first, (tmp_path / first).stat().st_size - 1)
    later = Clock()
    later.now += 1
    async with writing(tmp_path, later) as file:
        file.note(committed(3))
    with capture_logs():
        assert revisions(tmp_path) == [1, 3]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_is_told_and_nothing_is_lost(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a full disk fails no delivery, is an alarm, and heals. Method: fill it, note more, make room again."""
    monkeypatch.setattr(record_file, "_RETRY_S", 0.05)
    clock = Clock()
    async with writing(small_disk, clock) as file:
        file.note(committed(0))
        await eventually(lambda: revisions(small_disk) == [0], what="the first")
        room = os.statvfs(small_disk)
        (small_disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize))
        for number in range(1, 1000):
            file.note(committed(number))
        await eventually(lambda: clock.told, what="the alarm")
        with capture_logs() as torn:
            written = revisions(small_disk)
        assert written == list(range(len(written)))
        assert not torn, "what was written in part is taken back"
        (small_disk / "ballast").unlink()
        await eventually(lambda: len(clock.told) == 2, what="it works again")
    assert clock.told == [("No space left on device", 0), ("", 0)]


async def test_too_much_is_counted_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: memory stays bounded and the loss is told. Method: a folder that cannot be made, too many entries."""
    monkeypatch.setattr(record_file, "_RETRY_S", 0.05)
    monkeypatch.setattr(record_file, "QUEUE_MAX", 50)
    place, clock = tmp_path / "place", Clock()
    place.touch()
    async with writing(place / "records", clock) as file:
        for number in range(60):
            file.note(committed(number))
        await eventually(lambda: clock.told, what="the alarm")
        place.unlink()
        await eventually(lambda: clock.told[-1][0] == "", what="it works again")
    assert sum(lost for _, lost in clock.told) == 10
    assert revisions(place / "records") == list(range(50))


KILLED = """
import asyncio, sys, time
from pathlib import Path
from mft.model.delivery import Record, Term
from mft.transfers.record_file import Committed, RecordFile

async def main():
    file = RecordFile(Path(sys.argv[1]), lambda reason, lost: None)
    asyncio.get_running_loop().create_task(file.run())
    for number in range(10**6):
        record = Record(state="intent", name="n" * (number % 300), names=("temp",))
        fields = {"at": time.time(), "term": Term("life", 1), "transfer": "t", "delivery": "d", "record": record}
        file.note(Committed(revision=number, **fields))
        await asyncio.sleep(0.001 if number % 20 == 0 else 0)
        if number == 500:
            print("under way", flush=True)

asyncio.run(main())
"""


def test_a_killed_process_leaves_what_can_be_read(tmp_path: Path) -> None:
    """Goal: SIGKILL costs the last entries at most. Method: kill thrice amid writing; read without a gap."""
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        with subprocess.Popen([sys.executable, "-c", KILLED, folder], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"under way\n"
            process.send_signal(signal.SIGKILL)
        with capture_logs():
            found = revisions(folder)
        assert found == list(range(len(found)))
        assert len(found) > 100
