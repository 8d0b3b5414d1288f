"""What is done where the destination has a file of that name: each rule, and what comes of it at a takeover."""

from __future__ import annotations

import os

import msgspec
import pytest

from mft.errors import LeadershipLost, MftError
from mft.events import catalogue
from mft.model.transfer_parts import NameRule, OverwriteRule, RetrySpec
from mft.transfers.naming import stamped
from tests.integration.transfers.conftest import Bench
from tests.integration.transfers.files import reasons, told, tree


def rule(bench: Bench, name: OverwriteRule) -> None:
    bench.spec = msgspec.structs.replace(bench.spec, overwrite_rule=name)


def put(bench: Bench, name: str = "a.csv", content: bytes = b"THERE") -> None:
    (bench.inbox / name).write_bytes(content)


def put_at(bench: Bench, moment: str) -> None:
    """Have somebody else put a file there right after our write of this state to the journal."""

    def puts(_delivery: str, state: str) -> MftError | None:
        if state == moment:
            put(bench)
        return None

    bench.journal.after = puts


@pytest.mark.parametrize("name", ["overwrite", "disable"])
async def test_replaced(bench: Bench, name: OverwriteRule) -> None:
    """Goal: the newer file replaces the one that is there. Method: one stands there."""
    rule(bench, name)
    put(bench)
    bench.give("a.csv")
    await bench.run()
    assert tree(bench.inbox) == {"a.csv": b"content"}
    bench.check_settled()


async def test_fail(bench: Bench) -> None:
    """Goal: nothing is sent, the file fails, is put aside after its attempts, and loses nothing. Method: file there."""
    rule(bench, "fail")
    bench.spec = msgspec.structs.replace(bench.spec, retry=RetrySpec(first_s=1e-6, most_s=1e-6, attempts_max=3))
    put(bench)
    bench.give("a.csv")
    bench.give("b.csv")
    for _ in range(4):
        await bench.run()
    assert tree(bench.inbox) == {"a.csv": b"THERE", "b.csv": b"content"}
    assert [record.state for record in bench.journal.records.values()] == ["quarantined"]
    assert "intent" not in {state for delivery, state in bench.journal.told if delivery in bench.journal.records}
    assert "exists at the destination" in reasons(bench)[0]
    assert bench.temps() == []
    assert len(bench.left()) == 1


async def test_fail_right_before_the_rename(bench: Bench) -> None:
    """Goal: the intent is taken back, and the file goes once the way is free. Method: a file comes after the intent."""
    rule(bench, "fail")
    put_at(bench, "intent")
    bench.give("a.csv")
    assert (await bench.run()).failed == 1
    assert tree(bench.inbox) == {"a.csv": b"THERE"}
    assert [record.state for record in bench.journal.records.values()] == ["taken"]
    assert bench.temps() == []
    bench.journal.after = lambda _delivery, _state: None
    (bench.inbox / "a.csv").unlink()
    await bench.run(8, sweep=True)
    assert tree(bench.inbox) == {"a.csv": b"content"}
    bench.check_settled()


@pytest.mark.parametrize("is_written", [False, True], ids=["not written", "written"])
async def test_dying_while_an_intent_is_taken_back(bench: Bench, is_written: bool) -> None:
    """Goal: the file is sent once, wherever it breaks off. Method: leadership is lost at the record that takes back."""
    rule(bench, "fail")
    put_at(bench, "intent")
    puts = bench.journal.after

    def dies(_delivery: str, state: str) -> MftError | None:
        return LeadershipLost("killed") if state == "taken" else puts(_delivery, state)

    if is_written:
        bench.journal.after = dies
    else:
        bench.journal.before = lambda delivery, state: dies(delivery, state) if state == "taken" else None
    bench.give("a.csv")
    with pytest.raises(LeadershipLost):
        await bench.run()
    bench.journal.before = bench.journal.after = lambda _delivery, _state: None
    assert tree(bench.inbox) == {"a.csv": b"THERE"}
    (bench.inbox / "a.csv").unlink()
    await bench.run(8, sweep=True)
    assert tree(bench.inbox) == {"a.csv": b"content"}
    bench.check_settled()


async def test_a_source_that_vanished_after_its_intent_was_taken_back(bench: Bench) -> None:
    """Goal: its record goes, and that is told. Method: remove the taken source while its record says `taken`."""
    rule(bench, "fail")
    put_at(bench, "intent")
    bench.give("a.csv")
    await bench.run()
    bench.journal.after = lambda _delivery, _state: None
    [left] = bench.left()
    (bench.out / left).unlink()
    await bench.run(8, sweep=True)
    assert told(bench, catalogue.SOURCE_VANISHED) == 1
    assert tree(bench.inbox) == {"a.csv": b"THERE"}
    await bench.run(9, sweep=True)
    bench.check_settled()


@pytest.mark.parametrize("name", ["fail", "skip", "timestamp-to-new-file", "timestamp-to-existing-file"])
async def test_what_was_published_is_not_met_as_another(bench: Bench, name: OverwriteRule) -> None:
    """Goal: our own file under the final name is no reason to fail or rename. Method: die before `done`, take over."""
    rule(bench, name)
    bench.give("a.csv")
    bench.journal.before = lambda _delivery, state: LeadershipLost("killed") if state == "done" else None
    with pytest.raises(LeadershipLost):
        await bench.run()
    bench.journal.before = lambda _delivery, _state: None
    assert tree(bench.inbox) == {"a.csv": b"content"}
    await bench.run(8, sweep=True)
    assert tree(bench.inbox) == {"a.csv": b"content"}
    assert told(bench, catalogue.FILE_DELIVERED) == 1
    assert told(bench, catalogue.DESTINATION_KEPT) == 0
    bench.check_settled()


@pytest.mark.parametrize("moment", ["there before", "intent"])
async def test_skip(bench: Bench, moment: str) -> None:
    """Goal: the source counts as delivered, the other stays. Method: it is there before, or comes before the rename."""
    rule(bench, "skip")
    if moment == "intent":
        put_at(bench, moment)
    else:
        put(bench)
    bench.give("a.csv", os.urandom(300_000))
    bench.give("b.csv")
    assert (await bench.run()).failed == 0
    assert tree(bench.inbox)["a.csv"] == b"THERE"
    assert told(bench, catalogue.DESTINATION_KEPT) == 1
    assert told(bench, catalogue.FILE_DELIVERED) == 1
    bench.check_settled()


async def test_skip_of_a_kept_source(bench: Bench) -> None:
    """Goal: the ledger knows it, so it is skipped once, not at each pass. Method: two passes."""
    rule(bench, "skip")
    bench.spec = msgspec.structs.replace(bench.spec, delete_source=False)
    put(bench)
    bench.give("a.csv")
    for _ in range(2):
        await bench.run()
    assert told(bench, catalogue.DESTINATION_KEPT) == 1
    assert list(bench.journal.ledger) == ["a.csv"]
    assert bench.left() == ["a.csv"]


async def test_a_skipped_one_is_taken_over_as_skipped(bench: Bench) -> None:
    """Goal: no event says that it was delivered. Method: die right after `done`."""
    rule(bench, "skip")
    put(bench)
    bench.give("a.csv")
    bench.journal.after = lambda _delivery, state: LeadershipLost("killed") if state == "done" else None
    with pytest.raises(LeadershipLost):
        await bench.run()
    bench.journal.after = lambda _delivery, _state: None
    await bench.run(8, sweep=True)
    assert told(bench, catalogue.DESTINATION_KEPT) == 1
    assert told(bench, catalogue.FILE_DELIVERED) == 0
    bench.check_settled()


async def test_timestamp_always(bench: Bench) -> None:
    """Goal: each name has the time of taking, two of one moment as well. Method: an own delivery id, twice."""
    rule(bench, "timestamp-always")
    bench.taken("a.csv")
    await bench.run()
    name = stamped("a.csv", 1_700_000_000)
    assert tree(bench.inbox) == {name: b"content"}
    delivery = bench.taken("a.csv", b"second")
    (bench.inbox / stamped("a.csv", 1_700_000_001)).write_bytes(b"OTHER")
    await bench.run()
    assert tree(bench.inbox)[stamped("a.csv", 1_700_000_001, delivery[-6:])] == b"second"
    assert len(tree(bench.inbox)) == 3
    bench.check_settled()


@pytest.mark.parametrize("moment", ["there before", "intent"])
async def test_timestamp_to_new_file(bench: Bench, moment: str) -> None:
    """Goal: the one that is there stays, ours gets the time. Method: it is there before, or comes before the rename."""
    rule(bench, "timestamp-to-new-file")
    bench.taken("a.csv")
    bench.taken("free.csv")
    if moment == "intent":
        put_at(bench, moment)
    else:
        put(bench)
    await bench.run()
    new = stamped("a.csv", 1_700_000_000)
    assert tree(bench.inbox) == {"a.csv": b"THERE", new: b"content", "free.csv": b"content"}
    paths = {fields["path"] for event, fields in bench.events if event == catalogue.FILE_DELIVERED}
    assert f"{bench.inbox}/{new}" in paths
    assert told(bench, catalogue.DESTINATION_RENAMED) == 1
    bench.check_settled()


@pytest.mark.parametrize("moment", ["there before", "intent"])
async def test_timestamp_to_existing_file(bench: Bench, moment: str) -> None:
    """Goal: the one that is there gets the time, ours its name. Method: it is there before, or comes late."""
    rule(bench, "timestamp-to-existing-file")
    bench.taken("a.csv")
    if moment == "intent":
        put_at(bench, moment)
    else:
        put(bench)
    await bench.run()
    assert tree(bench.inbox) == {"a.csv": b"content", stamped("a.csv", 1_700_000_000): b"THERE"}
    assert told(bench, catalogue.DESTINATION_RENAMED) == 1
    bench.check_settled()


@pytest.mark.parametrize(
    ("name", "stand", "failed"),
    [("fail", 1, 7), ("skip", 1, 0), ("timestamp-to-new-file", 8, 0), ("timestamp-always", 8, 0)],
)
async def test_many_that_become_one_name(bench: Bench, name: OverwriteRule, stand: int, failed: int) -> None:
    """Goal: of our own files none replaces another either. Method: eight at a time, all with one name."""
    rule(bench, name)
    same = NameRule(action="fixed-path", template="same.csv")
    bench.spec = msgspec.structs.replace(bench.spec, parallel_files=8, names=(same,))
    for number in range(8):
        bench.give(f"f{number}", str(number).encode())
    tally = await bench.run()
    assert len(tree(bench.inbox)) == stand
    assert tally.failed == failed
    assert bench.temps() == []


async def test_a_folder_in_the_way(bench: Bench) -> None:
    """Goal: a folder is not renamed, and the message names it. Method: one stands under the final name."""
    rule(bench, "timestamp-to-existing-file")
    (bench.inbox / "a.csv").mkdir()
    bench.give("a.csv")
    assert (await bench.run()).failed == 1
    assert "is a folder" in reasons(bench)[0]
    (bench.inbox / "a.csv").rmdir()
    await bench.run(8, sweep=True)
    assert tree(bench.inbox) == {"a.csv": b"content"}
    bench.check_settled()
