"""What makes a batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mft.model.transfer_parts import BatchSpec
from mft.model.transfers import TransferSpec
from mft.transfers.gathering import Gathering, Quiet
from mft.transfers.remotes.base import Entry


def _spec(batch: BatchSpec) -> TransferSpec:
    return TransferSpec(source_location="a", source_path="", destination_location="b", destination_path="", batch=batch)


def _entry(name: str, mtime: float = 0.0) -> Entry:
    return Entry(name, 1, mtime, is_file=True, is_folder=False)


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 10), st.integers(0, 2), st.booleans())
def test_the_oldest_that_fit_and_the_marker_with_the_last(
    mtimes: list[int], files_max: int, markers: int, has_unstable: bool
) -> None:
    """Goal: a batch is bounded, oldest first, complete with its marker alone. Method: any files and markers."""
    gathering = Gathering(_spec(BatchSpec(marker="*.done", files_max=files_max)))
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


def test_quiet_begins_anew_with_each_change() -> None:
    """Goal: nothing may have come or changed for the time. Method: looks at growing and changing folders."""
    spec, quiet = _spec(BatchSpec(interval_s=10)), Quiet()

    def look(now: float, *entries: Entry) -> int:
        gathering = Gathering(spec)
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
    assert Gathering(spec, taken=3).result(Quiet(), 0.0).reason
    assert Gathering(spec, taken=3, has_marker=True).result(Quiet(), 0.0) == ((), 0.0, "")
    assert Gathering(spec).result(Quiet(), 0.0) == ((), 0.0, "")
