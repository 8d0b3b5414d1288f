"""When a file that failed is tried again."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mft.model.delivery import Kept
from mft.model.transfer_parts import RetrySpec
from mft.transfers import retries as module
from mft.transfers.retries import Retries


@given(st.floats(0.1, 100), st.floats(0.1, 10_000), st.integers(1, 60), st.integers(0, 1000))
def test_waits_double_up_to_the_longest(first_s: float, most_s: float, failures: int, seed: int) -> None:
    """Goal: a file costs less and less, and is never given up by the wait. Method: any bounds, failures in a row."""
    retries = Retries(random.Random(seed))
    retry = RetrySpec(first_s=first_s, most_s=most_s)
    now = 1000.0
    for number in range(failures):
        assert retries.failed("d", now, retry, counts=True) == number + 1
        ceiling = min(most_s, first_s * 2.0**number)
        wait_s = retries.wait_s("d", now)
        assert ceiling / 2 * 0.999 <= wait_s <= ceiling * 1.001
        now += wait_s
        assert retries.wait_s("d", now) < 1e-6
    retries.forget("d")
    assert retries.failed("d", now, retry, counts=True) == 1


def test_what_is_no_fault_of_the_file_waits_and_does_not_count() -> None:
    """Goal: a full disk brings no file into quarantine. Method: failures of both kinds."""
    retries, retry = Retries(), RetrySpec()
    assert retries.failed("d", 0.0, retry, counts=False) == 0
    assert retries.wait_s("d", 0.0) > 0
    assert retries.failed("d", 0.0, retry, counts=True) == 1
    assert retries.failed("d", 0.0, retry, counts=False) == 1


def test_a_kept_source_that_changed_begins_anew() -> None:
    """Goal: a repaired file is tried at once. Method: the same path with another identity."""
    retries, retry = Retries(), RetrySpec()
    before, after = Kept(1, 1.0, 1), Kept(2, 2.0, 1)
    retries.failed("kept:a", 0.0, retry, counts=True, source=before)
    assert retries.wait_s("kept:a", 0.0, before) > 0
    assert retries.wait_s("kept:a", 0.0, after) == 0
    assert retries.failed("kept:a", 0.0, retry, counts=True, source=after) == 1


def test_memory_is_bounded() -> None:
    """Goal: a folder full of bad files fills no memory. Method: more than are remembered."""
    retries, retry = Retries(), RetrySpec()
    for number in range(module._FILES_MAX + 5):
        retries.failed(str(number), float(number), retry, counts=True)
    assert len(retries._waiting) <= module._FILES_MAX
    assert retries.wait_s(str(module._FILES_MAX + 4), float(module._FILES_MAX + 4)) > 0


def test_by_which_time_a_file_was_meant() -> None:
    """Goal: the first failure's time counts, of this source. Method: two failures, another source, success."""
    retries, retry = Retries(random.Random(1)), RetrySpec()
    before, after = Kept(1, 1.0), Kept(1, 2.0)
    assert retries.began_at("kept:a", before) is None
    for began_at in (5.0, 6.0):
        retries.failed("kept:a", 0.0, retry, counts=True, source=before, began_at=began_at)
    assert retries.began_at("kept:a", before) == 5.0
    assert retries.began_at("kept:a", after) is None
    retries.forget("kept:a")
    assert retries.began_at("kept:a", before) is None
