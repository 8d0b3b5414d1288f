"""What makes a batch."""

from __future__ import annotations

from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from mft.model.dates import Moment
from mft.model.delivery import Term
from mft.model.transfer_parts import BatchSpec
from mft.model.transfers import TransferSpec
from mft.transfers.gathering import Batch, Gathering, Quiet, Waiting
from mft.transfers.remotes.base import Entry

NOW = Moment(1_700_000_000.0, UTC)


def _spec(batch: BatchSpec) -> TransferSpec:
    return TransferSpec(source_location="a", source_path="", destination_location="b", destination_path="", batch=batch)


def _entry(name: str, mtime: float = 0.0) -> Entry:
    return Entry(name, 1, mtime, is_file=True, is_folder=False)


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 10), st.integers(0, 2), st.booleans())
def test_the_oldest_that_fit_and_the_marker_with_the_last(
    mtimes: list[int], files_max: int, markers: int, has_unstable: bool
) -> None:
    """Goal: a batch is bounded, oldest first, complete with its marker alone. Method: any files and markers."""
    gathering = Gathering(_spec(BatchSpec(marker="*.done", files_max=files_max)), NOW)
    for number, mtime in enumerate(mtimes):
        gathering.add(_entry(str(number), mtime), is_stable=not has_unstable)
    for number in range(markers):
        gathering.add(_entry(f"{number}.done"), is_stable=True)
    batch = gathering.result(Quiet(), 0.0)
    if (mtimes and has_unstable) or not markers:
        assert batch.entries == ()
        assert bool(batch.reason) is bool(mtimes)
        return
    files = [entry for entry in batch.entries if not entry.name.endswith(".done")]
    assert [entry.mtime for entry in files] == sorted(mtimes)[:files_max]
    is_last = len(mtimes) <= files_max
    assert [entry.name for entry in batch.entries[len(files) :]] == [
        f"{n}.done" for n in range(markers if is_last else 0)
    ]


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30), st.integers(1, 6), st.booleans())
def test_a_full_batch_waits_for_nothing(files: list[tuple[int, bool]], files_max: int, has_marker: bool) -> None:
    """Goal: a folder in which files come all the time is sent too. Method: any files, some not stable, never quiet.

    A marker is not sent with it: more may come.
    """
    gathering = Gathering(
        _spec(BatchSpec(interval_s=10, marker="*.done" if has_marker else "", files_max=files_max)), NOW
    )
    for number, (mtime, is_stable) in enumerate(files):
        gathering.add(_entry(str(number), mtime), is_stable=is_stable)
    if has_marker:
        gathering.add(_entry("all.done"), is_stable=True)
    batch = gathering.result(Quiet(), 0.0)
    stable = sorted(mtime for mtime, is_stable in files if is_stable)
    if len(stable) < files_max:
        assert batch.entries == ()
        assert bool(batch.reason) is bool(files or has_marker)
    else:
        assert [entry.mtime for entry in batch.entries] == stable[:files_max]
        assert all(files[int(entry.name)][1] for entry in batch.entries)
    assert gathering.files == len(files) + has_marker


def test_a_full_batch_waits_for_its_marker_and_for_what_failed() -> None:
    """Goal: full is not complete. Method: no marker, one that is still written; a file that has failed lately."""

    def look(batch: BatchSpec, **last: bool) -> Batch:
        gathering = Gathering(_spec(batch), NOW)
        for name in ("a", "b"):
            gathering.add(_entry(name), is_stable=True)
        if last:
            gathering.add(_entry("m"), **last)
        return gathering.result(Quiet(), 0.0)

    announced, quiet = BatchSpec(marker="m", files_max=2), BatchSpec(interval_s=10, files_max=2)
    assert look(announced).reason == "its marker is not there"
    assert look(announced, is_stable=False).reason == "1 files are still being written"
    assert look(quiet, is_stable=True, is_due=False).reason == "1 files have failed and are tried again"
    assert [entry.name for entry in look(quiet, is_stable=True).entries] == ["a", "b"]
    both = BatchSpec(interval_s=10, marker="m", files_max=2)
    assert [entry.name for entry in look(both, is_stable=True).entries] == ["a", "b"], "more may come before the marker"


def test_who_waits_for_long_is_told_of_once_an_hour() -> None:
    """Goal: no batch is silent for ever, and none is noisy. Method: looks on a clock; a batch between; another term."""
    waiting, term = Waiting(), Term("life", 7)

    def look(now: float, batch: BatchSpec, in_term: Term = term) -> tuple[float, bool]:
        return waiting.for_s(in_term, now), waiting.is_due_to_warn(batch, now)

    marked = BatchSpec(marker="m")
    assert look(100, marked) == (0, False)
    assert look(699, marked) == (599, False)
    assert look(701, BatchSpec(interval_s=61)) == (601, False)
    assert look(701, BatchSpec(interval_s=61, warn_after_s=0)) == (601, False)
    assert look(701, marked) == (601, True)
    assert look(702, BatchSpec(interval_s=60)) == (602, False)
    assert look(4300, marked) == (4200, False)
    assert look(4301, marked) == (4201, True)
    waiting.end()
    assert look(9000, marked) == (0, False)
    assert look(20000, marked, Term("life", 8)) == (0, False)


def test_quiet_begins_anew_with_each_change() -> None:
    """Goal: nothing may have come or changed for the time. Method: looks at growing and changing folders."""
    spec, quiet = _spec(BatchSpec(interval_s=10)), Quiet()

    def look(now: float, *entries: Entry) -> int:
        gathering = Gathering(spec, NOW)
        for entry in entries:
            gathering.add(entry, is_stable=True)
        batch = gathering.result(quiet, now)
        assert bool(batch.entries) or 0 < batch.wait_s <= 10
        return len(batch.entries)

    assert look(0, _entry("a")) == 0
    assert look(9, _entry("a"), _entry("b")) == 0
    assert look(18, _entry("a"), _entry("b")) == 0
    assert look(18.5, _entry("a"), _entry("b", 1)) == 0
    assert look(28.5, _entry("b", 1), _entry("a")) == 2


def test_what_is_taken_already_counts() -> None:
    """Goal: a successor completes what its predecessor began to take. Method: all but the marker, and the marker."""
    spec = _spec(BatchSpec(marker="m"))
    assert Gathering(spec, NOW, taken=3).result(Quiet(), 0.0).reason
    assert Gathering(spec, NOW, taken=3, has_marker=True).result(Quiet(), 0.0) == ((), 0.0, "")
    assert Gathering(spec, NOW).result(Quiet(), 0.0) == ((), 0.0, "")
