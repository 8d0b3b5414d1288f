"""Which files may be taken: those that have not changed for long enough, as this node's clock sees it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mft.transfers.remotes.base import Entry
from mft.transfers.taking import Stability

START = 1_800_000_000.0


def _entry(size_bytes: int, mtime: float) -> Entry:
    return Entry("a", size_bytes, mtime, is_file=True, is_folder=False)


def test_an_old_file_needs_no_second_look() -> None:
    """Goal: what lay there before the node started is taken at once. Method: older than interval and clocks differ."""
    stability = Stability()
    stability.begin()
    assert stability.is_stable("a", _entry(1, START - 71), 10.0, START)
    assert not stability.is_stable("b", _entry(1, START - 69), 10.0, START)


def test_no_interval_needs_no_look() -> None:
    """Goal: where producers rename into place nothing is waited for. Method: interval 0, a file of this moment."""
    stability = Stability()
    stability.begin()
    assert stability.is_stable("a", _entry(1, START), 0, START)


def test_a_file_that_went_and_came_again_is_new() -> None:
    """Goal: what was seen two passes ago counts for nothing. Method: a pass that does not meet the file."""
    stability = Stability()
    for now in (START, START + 6):
        stability.begin()
        assert not stability.is_stable("a", _entry(1, START), 10.0, now)
    stability.begin()  # It is not there.
    stability.begin()
    assert not stability.is_stable("a", _entry(1, START), 10.0, START + 20)


@given(
    interval_s=st.floats(0.5, 100),
    looks=st.lists(st.tuples(st.floats(0.01, 50), st.booleans()), min_size=1, max_size=30),
    skew_s=st.floats(-59, 59),
)
def test_taken_only_after_the_interval_without_a_change(
    interval_s: float, looks: list[tuple[float, bool]], skew_s: float
) -> None:
    """Goal: a file is never taken sooner than an interval after its last change, and is taken after it.

    Method: looks at any times, before each of which the file may have grown, its clock off by up to a minute.
    """
    stability = Stability()
    now, size_bytes, changed, seen = START, 1, START, None
    for wait_s, grows in looks:
        now += wait_s
        if grows:
            size_bytes, changed = size_bytes + 1, now
            seen = None
        stability.begin()
        stable = stability.is_stable("a", _entry(size_bytes, changed + skew_s), interval_s, now)
        if stable:
            assert now - changed >= interval_s
            return
        seen = now if seen is None else seen
        assert now - seen < interval_s
