"""Batches: all of them or none, the marker last, wherever it breaks off."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from mft.errors import MftError, Unavailable
from mft.events import catalogue
from mft.model.transfer_parts import BatchSpec, RetrySpec
from mft.transfers.context import RunContext
from mft.transfers.located import LocatedRemote
from mft.transfers.run import run_pass
from mft.transfers.work import Tally
from tests.integration.transfers.conftest import Bench, each_way, from_server

FILES = {"a": b"one", "b": b"two", "c": b"three", "all.done": b""}


def change(bench: Bench, **changes: Any) -> None:
    """Change the bench's transfer."""
    bench.spec = msgspec.structs.replace(bench.spec, **changes)


@pytest.fixture
def batching(bench: Bench) -> Bench:
    """Give a bench whose files wait for a marker."""
    change(bench, batch=BatchSpec(marker="*.done"), retry=RetrySpec(first_s=1e-6, most_s=1e-6, attempts_max=3))
    return bench


def give_all(bench: Bench) -> None:
    """Put a complete batch there."""
    for name, content in FILES.items():
        bench.give(name, content)


def told(bench: Bench, event: int) -> list[Any]:
    """Return the fields of all events of this kind."""
    return [fields for each, fields in bench.events if each == event]


class Recording(LocatedRemote):
    """Notes final names in the order in which they appear, and what stands prepared at that moment."""

    published: list[str]
    before: Callable[[str], None]

    async def rename(self, old: str, new: str) -> None:
        """Note and rename."""
        name = new.rpartition("/")[2]
        if not name.startswith("."):
            self.before(name)
            self.published.append(name)
        await super().rename(old, new)


async def record(bench: Bench) -> tuple[RunContext, Recording]:
    """Make a run's context whose destination notes what is published."""
    context = await bench.context()
    assert isinstance(context.destination, LocatedRemote)
    remote = Recording(context.destination.remote, "partner", "destination")
    remote.published, remote.before = [], lambda _: None
    return msgspec.structs.replace(context, destination=remote), remote


@from_server
async def test_nothing_is_sent_before_the_marker_is_there(batching: Bench) -> None:
    """Goal: a batch without its marker waits where it is. Method: passes before and after the marker comes."""
    batching.give("a")
    batching.give("b")
    await batching.run()
    assert batching.arrived() == {}
    assert batching.left() == ["a", "b"]
    batching.give("all.done", b"")
    assert (await batching.run()).delivered == 3
    assert sorted(batching.arrived()) == ["a", "all.done", "b"]
    [event] = told(batching, catalogue.BATCH_DELIVERED)
    assert event["files"] == 3
    batching.check_settled()


@each_way
async def test_none_has_its_name_before_all_stand_there_and_the_marker_is_last(batching: Bench) -> None:
    """Goal: the order that a consumer relies on. Method: look at each final rename, what is prepared by then."""
    change(batching, parallel_files=1)
    give_all(batching)
    context, remote = await record(batching)
    prepared: list[int] = []

    def look(_name: str) -> None:
        prepared.append(len(batching.temps()) + len(remote.published))

    remote.before = look
    await run_pass(context, {}, batching.stability, Tally(), sweep=False)
    assert prepared == [len(FILES)] * len(FILES)
    assert remote.published[-1] == "all.done"
    assert sorted(remote.published) == sorted(FILES)
    batching.check_settled()


@from_server
async def test_if_one_fails_all_wait(batching: Bench) -> None:
    """Goal: a batch is never half there; it goes when its bad file can. Method: a folder that cannot be made.

    The bad file comes to quarantine, which holds the batch for the operator; what he resends lets it go.
    """
    change(batching, recursive=True)
    (batching.inbox / "bad").write_bytes(b"in the way")
    give_all(batching)
    batching.give("bad/file")
    for _ in range(5):
        await batching.run()
        assert sorted(batching.arrived()) == ["bad"]
    assert len(told(batching, catalogue.BATCH_FAILED_WILL_RETRY)) == 3
    states = {record.name: record.state for record in batching.journal.records.values()}
    assert states == {"a": "intent", "b": "intent", "c": "intent", "bad/file": "quarantined"}
    (batching.inbox / "bad").unlink()
    for delivery, record in list(batching.journal.records.items()):
        if record.state == "quarantined":
            await batching.journal.put(delivery, msgspec.structs.replace(record, state="taken"))
    await batching.run(8, sweep=True)
    assert sorted(batching.arrived()) == sorted([*FILES, "bad/file"])
    batching.check_settled()


@pytest.mark.parametrize("keeps", [False, True], ids=["taken", "kept"])
@pytest.mark.parametrize("number", range(1, 13))
async def test_broken_off_at_each_write(batching: Bench, number: int, keeps: bool) -> None:
    """Goal: a successor finishes the batch, whole, each file once. Method: fail at each write of the journal in turn.

    A consumer takes each file as it appears and notes how many of the batch stood complete by then.
    """
    change(batching, delete_source=not keeps, parallel_files=1)
    give_all(batching)
    writes = 0

    def cut(_delivery: str, _state: str) -> MftError | None:
        nonlocal writes
        writes += 1
        return Unavailable("cut") if writes == number else None

    if number % 2:
        batching.journal.before = cut
    else:
        batching.journal.after = cut
    with pytest.raises(Unavailable):
        await batching.run()
    batching.journal.before = batching.journal.after = lambda _delivery, _state: None
    consumed = batching.arrived()
    intents = [record for record in batching.journal.records.values() if record.state == "intent"]
    assert not consumed or len(consumed) + len(intents) >= len(FILES), "published before all were prepared"
    for name in consumed:
        (batching.inbox / name).unlink()
    for term in (8, 9):
        await batching.run(term, sweep=True)
        again = batching.arrived()
        assert not again.keys() & consumed.keys()
        consumed |= again
        for name in again:
            (batching.inbox / name).unlink()
    assert consumed == FILES
    assert batching.journal.records == {}
    assert batching.temps() == []


@from_server
@pytest.mark.parametrize("keeps", [False, True], ids=["taken", "kept"])
@pytest.mark.parametrize("number", range(1, 10))
async def test_broken_off_where_files_keep_coming(bench: Bench, number: int, keeps: bool) -> None:
    """Goal: a batch that was started because it is full is no less whole. Method: fail at each write; more files come.

    A consumer takes each file as it appears.
    """
    batch = BatchSpec(interval_s=7200, files_max=3)
    change(bench, batch=batch, delete_source=not keeps, parallel_files=1)
    for name in ("f0", "f1", "f2"):
        bench.give(name)
    writes = 0

    def cut(_delivery: str, _state: str) -> MftError | None:
        nonlocal writes
        writes += 1
        return Unavailable("cut") if writes == number else None

    bench.journal.before = cut
    with pytest.raises(Unavailable):
        await bench.run()
    bench.journal.before = lambda _delivery, _state: None
    consumed = set(bench.arrived())
    intents = [record for record in bench.journal.records.values() if record.state == "intent"]
    assert not consumed or len(consumed) + len(intents) >= 3, "published before all were prepared"
    for term in range(8, 12):
        for name in consumed:
            (bench.inbox / name).unlink(missing_ok=True)
        bench.give(f"f{term}")
        await bench.run(term, sweep=True)
        again = set(bench.arrived())
        assert not again & consumed
        consumed |= again
    assert {"f0", "f1", "f2"} <= consumed
    assert bench.temps() == []


async def test_a_leader_that_died_while_taking_is_continued(batching: Bench) -> None:
    """Goal: half a batch that was taken is no batch. Method: some taken, some not; the marker comes later."""
    batching.taken("a", b"one")
    batching.give("b", b"two")
    await batching.run()
    assert batching.arrived() == {}
    batching.give("c", b"three")
    batching.give("all.done", b"")
    await batching.run(8)
    assert batching.arrived() == FILES
    batching.check_settled()


async def test_what_comes_after_the_marker_was_taken_is_the_next_batch(batching: Bench) -> None:
    """Goal: batches do not mix after a crash. Method: one is taken with its marker; a file of the next is there."""
    for name, content in FILES.items():
        batching.taken(name, content)
    batching.give("next")
    await batching.run(8)
    assert batching.arrived() == FILES
    assert batching.left() == ["next"]


async def test_an_intent_waits_for_the_rest_of_its_batch(batching: Bench) -> None:
    """Goal: no successor publishes what its predecessor had prepared alone. Method: the rest cannot be delivered."""
    delivery = batching.taken("a", b"one")
    batching.intend(delivery, "a", batching.temp(delivery, b"one"), size_bytes=3)
    batching.taken("b", b"two")
    batching.taken("all.done", b"")
    batching.journal.before = lambda other, state: (
        MftError("not now") if state == "intent" and other != delivery else None
    )
    for term in (7, 8):
        await batching.run(term)
        assert batching.arrived() == {}
    batching.journal.before = lambda _delivery, _state: None
    await batching.run(20, sweep=True)
    assert sorted(batching.arrived()) == ["a", "all.done", "b"]


async def test_a_quiet_time_makes_a_batch(bench: Bench) -> None:
    """Goal: without a marker what is there is sent when nothing has come for a while. Method: files, then silence."""
    change(bench, batch=BatchSpec(interval_s=0.3))
    bench.give("a")
    first = await bench.run()
    assert first.delivered == 0
    assert 0 < first.wait_s <= 0.3
    bench.give("b")
    assert (await bench.run()).delivered == 0
    delivered = 0
    while not delivered:
        delivered = (await bench.run()).delivered
    assert delivered == 2
    bench.check_settled()


@pytest.mark.parametrize("keeps", [False, True], ids=["taken", "kept"])
async def test_a_folder_that_is_never_quiet_is_sent(bench: Bench, keeps: bool) -> None:
    """Goal: files that keep coming hold up no batch for ever. Method: one a pass, three a batch, a quiet time of hours.

    One is written all the time and belongs to none.
    """
    change(bench, batch=BatchSpec(interval_s=7200, files_max=3), delete_source=not keeps, stable_interval_s=60)
    delivered = []
    for number in range(9):
        bench.give(f"f{number}")
        os.utime(bench.out / f"f{number}", (number, number))
        bench.give("written", bytes(number))
        delivered.append((await bench.run()).delivered)
    assert delivered == [0, 0, 3] * 3
    assert sorted(bench.arrived()) == [f"f{number}" for number in range(9)]
    assert [event["files"] for event in told(bench, catalogue.BATCH_DELIVERED)] == [3, 3, 3]


async def test_a_marker_that_never_comes_is_told(batching: Bench) -> None:
    """Goal: whoever runs it knows why nothing is sent. Method: passes without the marker; then with it, and again."""
    change(batching, batch=BatchSpec(marker="*.done", warn_after_s=1e-9))
    before = datetime.now(UTC).replace(microsecond=0)
    batching.give("a")
    batching.taken("b")
    tallies = [await batching.run() for _ in range(4)]
    (event,) = told(batching, catalogue.BATCH_WAITS)
    assert (event["transfer"], event["files"], event["reason"]) == ("t", 2, "its marker is not there")
    assert before <= datetime.fromisoformat(event["since"]) <= datetime.now(UTC)
    assert tallies[0].awaits.startswith("2 files have waited for their batch since 20")
    assert tallies[0].awaits.endswith("its marker is not there")
    batching.give("all.done", b"")
    done = await batching.run()
    assert (done.delivered, done.awaits) == (3, "")
    batching.give("c")
    for _ in range(3):
        await batching.run()
    assert len(told(batching, catalogue.BATCH_WAITS)) == 2, "the next batch waits anew"


async def test_more_files_than_fit_are_several_batches(batching: Bench) -> None:
    """Goal: the bound of a batch holds, the marker comes with the last. Method: five files, two a batch."""
    change(batching, batch=BatchSpec(marker="*.done", files_max=2))
    for number in range(5):
        batching.give(f"f{number}")
    batching.give("all.done", b"")
    tallies = [(await batching.run()).delivered for _ in range(4)]
    assert tallies == [2, 2, 2, 0]
    assert [event["files"] for event in told(batching, catalogue.BATCH_DELIVERED)] == [2, 2, 2]
    assert len(batching.arrived()) == 6
    assert "all.done" in batching.arrived()
    batching.check_settled()
