"""Every state that a predecessor can leave, taken over on real remotes: once, whole, and nothing left lying about."""

from __future__ import annotations

import os

import msgspec
import pytest

from mft.errors import LeadershipLost, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.delivery import Record
from tests.integration.transfers.conftest import Bench, each_way, from_server


@each_way
async def test_a_new_source_is_delivered(bench: Bench) -> None:
    """Goal: the ordinary way, an empty and a large file included. Method: three sources, one pass."""
    contents = {"a.txt": b"content", "empty": b"", "large": os.urandom(3_000_000)}
    for name, content in contents.items():
        bench.give(name, content)
    tally = await bench.run()
    assert (tally.delivered, tally.failed) == (3, 0)
    assert bench.arrived() == contents
    bench.check_settled()
    assert [event for event, _ in bench.events] == [catalogue.FILE_DELIVERED] * 3


@from_server
async def test_taken_without_a_record(bench: Bench) -> None:
    """Goal: what was taken, but not more, is delivered; the half upload goes. Method: a crash while uploading."""
    delivery = bench.taken("a")
    bench.temp(delivery, b"cont")
    await bench.run(sweep=True)
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


@each_way
async def test_intent_before_the_rename(bench: Bench) -> None:
    """Goal: the finished upload is published, not sent again. Method: a temp file whose content tells."""
    delivery = bench.taken("a")
    bench.intend(delivery, "a", bench.temp(delivery, b"UPLOADED BEFORE"))
    await bench.run(sweep=True)
    assert bench.arrived() == {"a": b"UPLOADED BEFORE"}
    bench.check_settled()


@from_server
async def test_intent_after_the_rename(bench: Bench) -> None:
    """Goal: what was published is not published again. Method: the consumer has taken it already."""
    delivery = bench.taken("a")
    temp = bench.temp(delivery)
    (bench.inbox / temp).unlink()
    bench.intend(delivery, "a", temp)
    await bench.run(sweep=True)
    assert bench.arrived() == {}
    bench.check_settled()


@each_way
@pytest.mark.parametrize("stands_at", [0, 1, 2])
async def test_intent_after_a_steal(bench: Bench, stands_at: int) -> None:
    """Goal: of several names the one at which the upload stands is found. Method: three predecessors, each in turn."""
    delivery = bench.taken("a")
    names = [bench.temp(delivery, term=term) for term in (3, 4, 5)]
    for index, name in enumerate(names):
        if index != stands_at:
            (bench.inbox / name).unlink()
    bench.intend(delivery, "a", *names)
    await bench.run(sweep=True)
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


@from_server
async def test_done_before_the_removal(bench: Bench) -> None:
    """Goal: a done delivery is only cleaned up. Method: record done, source still taken, consumer took the file."""
    delivery = bench.taken("a")
    bench.intend(delivery, "a")
    bench.journal.records[delivery] = msgspec.structs.replace(bench.journal.records[delivery], state="done")
    await bench.run(sweep=True)
    assert bench.arrived() == {}
    bench.check_settled()


@from_server
@pytest.mark.parametrize("folder_stays", [True, False])
@pytest.mark.parametrize("state", ["done", "intent"])
async def test_a_record_without_a_source(bench: Bench, folder_stays: bool, state: str) -> None:
    """Goal: the record goes, nothing is sent. Method: done and removed; or an intent that arrived after all was over.

    Such a late intent's temp file must not be published: it is a second copy.
    """
    delivery = bench.taken("a")
    (bench.out / ".mft" / delivery / "a").unlink()
    if not folder_stays:
        (bench.out / ".mft" / delivery).rmdir()
    bench.intend(delivery, "a", *([bench.temp(delivery)] if state == "intent" else []))
    if state == "done":
        bench.journal.records[delivery] = msgspec.structs.replace(bench.journal.records[delivery], state="done")
    writes: list[Record] = []
    bench.journal.after = lambda delivery, state: writes.extend(
        [bench.journal.records[delivery]] if state == "done" else []
    )
    await bench.run(sweep=True)
    assert [record.arrives for record in writes] == ([False] if state == "intent" else [])  # It was counted before.
    assert bench.arrived() == {}
    assert bench.journal.records == {}
    await bench.run(8, sweep=True)
    bench.check_settled()


@from_server
async def test_an_empty_taken_folder(bench: Bench) -> None:
    """Goal: it goes. Method: a crash between folder and rename."""
    (bench.out / ".mft" / bench.taken("a") / "a").unlink()
    await bench.run()
    bench.check_settled()


@each_way
@pytest.mark.parametrize("breaks_at", ["intent", "done", "forget"])
@pytest.mark.parametrize("written", [False, True])
async def test_broken_off_at_each_write(bench: Bench, breaks_at: str, written: bool) -> None:
    """Goal: whatever write was the last, the next term finishes. Method: leadership is lost at that write.

    A consumer takes each file as it appears, so that a second copy would be seen.
    """
    names = [f"f{number:02}" for number in range(12)]
    for name in names:
        bench.give(name)
    took: list[str] = []

    def consume() -> None:
        for name in bench.arrived():
            (bench.inbox / name).unlink()
            took.append(name)

    def breaks(_delivery: str, state: str) -> MftError | None:
        consume()
        return LeadershipLost("killed") if state == breaks_at and len(bench.journal.told) > 5 else None

    if written:
        bench.journal.after = breaks
    else:
        bench.journal.before = breaks
    with pytest.raises(LeadershipLost):
        await bench.run()
    consume()
    bench.journal.before = bench.journal.after = lambda _delivery, _state: None
    await bench.run(8, sweep=True)
    consume()
    assert sorted(took) == names
    bench.check_settled()


@from_server
async def test_two_taken_sources_of_one_name(bench: Bench) -> None:
    """Goal: the newer content stands in the end. Method: two taken sources of one name, the older one larger."""
    bench.taken("a", os.urandom(2_000_000))
    bench.taken("a", b"NEW")
    bench.give("a", b"NEWEST")
    await bench.run()
    assert bench.arrived() == {"a": b"NEWEST"}
    bench.check_settled()


async def test_a_newer_source_waits_for_the_older_one(bench: Bench) -> None:
    """Goal: older content never comes to stand over newer. Method: the older one fails at first, the newer is ready."""
    older = bench.taken("a", b"OLD")
    bench.journal.before = lambda delivery, _: MftError("not now") if delivery == older else None
    for number in range(20):
        bench.give(f"other{number}")
    bench.give("a", b"NEW")
    tally = await bench.run()
    assert tally.delivered == 20
    assert "a" not in bench.arrived()
    bench.journal.before = lambda _delivery, _state: None
    await bench.run(8, sweep=True)
    assert bench.arrived()["a"] == b"NEW"
    bench.check_settled()


async def test_the_temp_file_vanished_before_it_was_published(bench: Bench) -> None:
    """Goal: it is not guessed what became of it. Method: somebody removes the temp file right after the intent.

    It may as well have been a rename whose answer was that to a repeated request, so it is held; or sent again, where
    that is the policy.
    """
    bench.give("a")

    def sweeps(_delivery: str, state: str) -> MftError | None:
        if state == "intent":
            for name in bench.temps():
                (bench.inbox / name).unlink()
        return None

    bench.journal.after = sweeps
    tally = await bench.run()
    assert (tally.delivered, tally.failed) == (0, 1)
    assert [record.state for record in bench.journal.records.values()] == ["uncertain"]
    bench.journal.after = lambda _delivery, _state: None
    await bench.run()
    assert bench.arrived() == {}
    bench.spec = msgspec.structs.replace(bench.spec, on_uncertain="resend")
    await bench.run()
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


@from_server
async def test_a_source_that_changes_while_it_is_read(bench: Bench) -> None:
    """Goal: no mixture is published. Method: the producer still has the taken file open and writes at its end."""
    delivery = bench.taken("a", os.urandom(4_000_000))
    path = bench.out / ".mft" / delivery / "a"
    context = await bench.context()
    from mft.transfers.delivery import deliver
    from mft.transfers.taking import Taken

    class Writing:
        """A permit whose check is the moment at which the producer writes: between two pieces."""

        deadline = 0.0
        checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks == 2:
                with path.open("ab") as file:
                    file.write(b"more")

    with pytest.raises(MftError, match="changed while it was read"):
        await deliver(msgspec.structs.replace(context, permit=Writing()), Taken(delivery, "a"), None)
    assert bench.arrived() == {}
    assert bench.temps() == []
    await bench.run()
    assert bench.arrived() == {"a": path.read_bytes() if path.exists() else bench.arrived()["a"]}
    assert len(bench.arrived()["a"]) == 4_000_004
    bench.check_settled()


@from_server
async def test_a_taken_source_that_vanished(bench: Bench) -> None:
    """Goal: others are delivered, and the next pass tidies up. Method: remove it between listing and reading."""
    context = await bench.context()
    from mft.transfers.delivery import deliver
    from mft.transfers.taking import Taken

    delivery = bench.taken("a")
    (bench.out / ".mft" / delivery / "a").unlink()
    with pytest.raises(MftError):
        await deliver(context, Taken(delivery, "a"), None)
    assert bench.temps() == []
    bench.give("b")
    await bench.run()
    assert bench.arrived() == {"b": b"content"}
    bench.check_settled()


@from_server
async def test_the_source_folder_is_away(bench: Bench) -> None:
    """Goal: storage that is not mounted proves nothing. Method: an open intent whose whole source folder is away."""
    delivery = bench.taken("a")
    temp = bench.temp(delivery)
    bench.intend(delivery, "a", temp)
    away = bench.source / "away"
    bench.out.rename(away)
    with pytest.raises(MftError):
        await bench.run(sweep=True)
    assert bench.journal.records[delivery].state == "intent"
    assert temp in bench.temps() or bench.arrived()
    away.rename(bench.out)
    await bench.run(8, sweep=True)
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


async def test_the_destination_folder_is_away(bench: Bench) -> None:
    """Goal: a partner's folder that is away proves no publication. Method: rename it away under an open intent."""
    delivery = bench.taken("a")
    bench.intend(delivery, "a", bench.temp(delivery))
    away = bench.inbox.with_name("away")
    bench.inbox.rename(away)
    with pytest.raises(NotFound):
        await bench.run(sweep=True)
    assert bench.left() == [f".mft/{delivery}/a"]
    away.rename(bench.inbox)
    await bench.run(8, sweep=True)
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


async def test_sweeping_leaves_what_is_named_or_of_this_term(bench: Bench) -> None:
    """Goal: only what nobody can publish any more is removed. Method: one temp file of each kind."""
    open_, gone, foreign = bench.taken("a"), bench.taken("b"), bench.taken("c")
    named = bench.temp(open_)
    bench.intend(open_, "a", named)
    bench.temp(gone)
    mine = bench.temp(gone, term=7)
    other_transfers = bench.inbox / f".ffffffff-{foreign}.3.1-0.part"
    other_transfers.write_bytes(b"")
    from mft.transfers.run import sweep_temp

    await sweep_temp(await bench.context(7), bench.journal.records)
    assert set(bench.temps()) == {named, mine, other_transfers.name}


async def test_a_partner_that_sweeps_makes_it_uncertain(bench: Bench) -> None:
    """Goal: where a vanished temp file proves nothing, it is held, told, and sent again only if so configured."""
    if bench.location.__class__.__name__ != "SftpLocationSpec":
        pytest.skip("only partners have this setting")
    bench.location = msgspec.structs.replace(bench.location, sweeps_temp=True)
    delivery = bench.taken("a")
    temp = bench.temp(delivery)
    (bench.inbox / temp).unlink()
    bench.intend(delivery, "a", temp)
    for term in (7, 8, 9):
        assert (await bench.run(term, sweep=True)).delivered == 0
    assert bench.journal.records[delivery].state == "uncertain"
    assert [event for event, _ in bench.events].count(catalogue.DELIVERY_UNCERTAIN) == 1
    assert bench.left() == [f".mft/{delivery}/a"]
    assert bench.arrived() == {}
    bench.spec = msgspec.structs.replace(bench.spec, on_uncertain="resend")
    await bench.run(10)
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


async def test_a_name_that_cannot_be_had_does_not_grow_the_record(bench: Bench) -> None:
    """Goal: a delivery that is refused for ever keeps a small record. Method: a folder stands under the final name."""
    (bench.inbox / "a").mkdir()
    bench.give("a")
    for term in range(7, 47):
        await bench.run(term)
    [record] = bench.journal.records.values()
    assert len(record.names) <= 16
    (bench.inbox / "a").rmdir()
    await bench.run(50, sweep=True)
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


@from_server
async def test_nothing_is_done_after_the_deadline(bench: Bench) -> None:
    """Goal: a worker whose term is over does nothing outside. Method: every kind of open work, deadline passed."""
    delivery = bench.taken("a")
    bench.intend(delivery, "a", bench.temp(delivery))
    bench.taken("b")
    bench.give("c")
    bench.permit.deadline = 0.0
    before = bench.left(), bench.temps(), bench.arrived()
    with pytest.raises(LeadershipLost):
        await bench.run(sweep=True)
    assert (bench.left(), bench.temps(), bench.arrived()) == before
    assert {event for event, _ in bench.events} <= {catalogue.FILE_FAILED_WILL_RETRY}


async def test_an_outage_ends_the_pass(bench: Bench) -> None:
    """Goal: where nothing more can succeed the pass ends and says so. Method: the journal is away."""
    for number in range(50):
        bench.give(f"f{number}")
    bench.journal.before = lambda _delivery, _state: Unavailable("etcd is away")
    with pytest.raises(Unavailable):
        await bench.run()
    bench.journal.before = lambda _delivery, _state: None
    await bench.run(8, sweep=True)
    assert len(bench.arrived()) == 50
    bench.check_settled()
