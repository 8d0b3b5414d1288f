"""What record files say of the present."""

from __future__ import annotations

import pytest

from mft.errors import MftError
from mft.model.delivery import Kept, Record, Term
from mft.transfers import recall as recall_module
from mft.transfers.recall import decode_portion, portions, recall
from mft.transfers.record_file import Committed

K1, K2 = Kept(1, 1.0, 1), Kept(2, 2.0, 2)


def wrote(revision: int, delivery: str, state: str = "", life: str = "one", **more: object) -> Committed:
    """Make an entry: a record in this state, or none any more."""
    record = Record(state=state, name=f"{delivery}.csv") if state else None  # type: ignore[arg-type]
    fields: dict[str, object] = {
        "at": 0.0,
        "term": Term(life, 7),
        "revision": revision,
        "transfer": "out",
        "delivery": delivery,
        "record": record,
    }
    return Committed(**(fields | more))  # type: ignore[arg-type]


def test_what_is_open_and_what_is_delivered() -> None:
    """Goal: only what counts now is told. Method: open, forgotten, taken up again, kept, kept anew, gone."""
    entries = [
        wrote(1, "a", "intent"),
        wrote(2, "b", "intent"),
        wrote(3, "b", "done"),
        wrote(4, "b"),
        wrote(5, "a", "taken"),
        wrote(6, "k1", "done", path="x", kept=K1),
        wrote(7, "k1", "", path="x", kept=K1),
        wrote(8, "k2", "done", path="x", kept=K2),
        wrote(9, "k3", "done", path="y", kept=K1),
        wrote(10, "", path="y"),
    ]
    known = recall(entries)
    assert known.open == {("out", "a"): entries[4], ("out", "k2"): entries[7], ("out", "k3"): entries[8]}
    assert known.ledger == {("out", "x"): entries[7]}


def test_what_others_may_take_for_open() -> None:
    """Goal: it is told what was finished here of which another node, or the backup, knows only the beginning.

    Method: deliveries that were alone here, taken over, given back, and sent again; one that stands in etcd's journal.
    """

    def names(*all: str) -> Record:
        return Record(state="intent", name="x", names=all)

    late = Term("one", 9)
    entries = [
        wrote(1, "alone", record=names("1")),
        wrote(2, "alone"),
        wrote(3, "taken-over", record=names("1", "2")),
        wrote(4, "taken-over"),
        wrote(5, "only-forgotten"),
        wrote(6, "there-and-back", record=names("1")),
        wrote(7, "there-and-back", "done", term=late),
        wrote(8, "there-and-back", term=late),
        wrote(9, "resent", "taken"),
        wrote(10, "resent"),
        wrote(11, "standing", record=names("1")),
        wrote(12, "standing"),
        wrote(13, "open-again"),
        wrote(14, "open-again", record=names("1")),
    ]
    known = recall(entries, {("out", "standing"), ("out", "nobody-s")})
    expected = ["taken-over", "only-forgotten", "there-and-back", "resent", "standing"]
    assert [delivery for _, delivery in known.over] == expected
    assert list(known.open) == [("out", "open-again")]
    again = [*entries, wrote(15, "open-again")]
    assert ("out", "open-again") in recall(again).over
    assert recall([entries[3], entries[2]]).open == {}, "the clock was put back"


def test_a_clock_that_was_put_back() -> None:
    """Goal: the greater revision counts, but of one incarnation only. Method: entries against the order of files."""
    late, early = wrote(9, "a", "done"), wrote(3, "a", "intent")
    assert recall([late, early]).open == {("out", "a"): late}
    assert recall([late, wrote(4, "a")]).open == {("out", "a"): late}
    after_restore = wrote(3, "a", "intent", life="two")
    assert recall([late, after_restore]).open == {("out", "a"): after_restore}


def test_portions_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: nothing is lost on the way through etcd. Method: many small portions; and what is none."""
    entries = [wrote(n, f"d{n}", "done", path=f"p{n}", kept=K1) for n in range(1, 100)]
    monkeypatch.setattr(recall_module, "PORTION_BYTES", 500)
    forgotten = wrote(100, "over")
    known = recall([*entries, forgotten])
    read = [decode_portion(data) for data in portions(known)]
    assert len(read) > 10
    assert [one for portion in read for one in portion.open] == [*entries, forgotten]
    assert [one for portion in read for one in portion.ledger] == entries
    assert list(portions(recall([]))) == []
    with pytest.raises(MftError, match="newer"):
        decode_portion(b"\xc1")


def test_what_the_ledger_has_and_this_node_has_forgotten() -> None:
    """Goal: a source that was gone is forgotten again. Method: one that etcd's ledger has, one that it has not."""
    entries = [
        wrote(6, "k1", "done", path="x", kept=K1),
        wrote(7, "", path="x"),
        wrote(8, "k2", "done", path="y", kept=K1),
        wrote(9, "", path="y"),
        wrote(10, "", path="z"),
        wrote(11, "k3", "done", path="z", kept=K2),
    ]
    known = recall(entries, sources={("out", "x"), ("out", "z")})
    assert known.ledger == {("out", "x"): entries[1], ("out", "z"): entries[5]}
