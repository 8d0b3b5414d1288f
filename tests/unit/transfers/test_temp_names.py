"""Which names at a destination are temp files of a transfer, and what is remembered of them."""

from __future__ import annotations

import hashlib

import pytest

from mft.model.delivery import Term, is_stale_temp, taken_at, temp_name
from mft.transfers.memory import Mark, Memory, Partial
from mft.transfers.remotes.base import Entry
from mft.transfers.taking import delivery_prefix, new_delivery

TERM, RUN = Term("life", 7), 3
ENTRY = Entry("a", 5, 1.0, is_file=True, is_folder=False)


@pytest.mark.parametrize(("prefix", "suffix"), [(".", ".part"), ("", ""), ("upload-", ".tmp"), ("abcdef", "0123")])
def test_temp_files_are_known_by_their_delivery(prefix: str, suffix: str) -> None:
    """Goal: found whatever prefix and suffix were then; those of this run and of other clusters stay. Method: each."""
    mine, other = delivery_prefix("t"), delivery_prefix("u")
    delivery = new_delivery("t", 1_700_000_000.5)
    others = [(TERM, 2, True), (TERM, 33, True), (Term("life", 6), RUN, True), (Term("other", 6), RUN, False)]
    for term, run, is_stale in [(TERM, RUN, False), *others]:
        name = temp_name(delivery, term, f"{run}-0", prefix, suffix)
        assert is_stale_temp(name, mine, TERM, RUN) is is_stale
        assert not is_stale_temp(name, other, TERM, RUN)
    assert not is_stale_temp(f"{prefix}{delivery}{suffix}", mine, TERM, RUN)
    assert not is_stale_temp("report.csv", mine, TERM, RUN)


def test_when_a_delivery_was_taken() -> None:
    """Goal: each attempt reads the same time from its id. Method: make one; and read what is none."""
    assert taken_at(new_delivery("t", 1_700_000_000.5)) == 1_700_000_000.5
    assert taken_at("nothing") == 0.0


def test_memory_is_bounded_and_of_one_term() -> None:
    """Goal: what is remembered of cut-off uploads stays small, and names no temp file of another term."""
    memory = Memory()
    marks = (Mark(1, hashlib.sha256(b"x")),)
    for number in range(1500):
        memory.remember(f"d{number}", Partial(f"temp{number}", TERM, ENTRY, marks))
    assert len([*memory.temps(TERM)]) == 1000
    assert memory.recall("d0") is None
    assert memory.recall("d1499") == Partial("temp1499", TERM, ENTRY, marks)
    assert memory.recall("d1499") is None
    assert [*memory.temps(Term("life", 8))] == []
    assert [*memory.temps(TERM)] == []
