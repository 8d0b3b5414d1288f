"""Sources that are kept: each content once, whatever an earlier attempt left behind."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from mft.aio import boottime
from mft.errors import Denied, Exhausted, LeadershipLost, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.delivery import LEDGER_ENTRIES_MANY, LEDGER_ENTRIES_MAX, Kept
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import BatchSpec
from mft.transfers import missing
from mft.transfers.remotes.base import Entry
from mft.transfers.remotes.local import LocalRemote
from mft.transfers.taking import new_delivery
from mft.transfers.work import GONE_SOURCES_MAX
from tests.integration.transfers.conftest import Bench, each_way, from_server
from tests.integration.transfers.files import At, run_with


@pytest.fixture
def copying(bench: Bench) -> Bench:
    """Give a bench whose transfer keeps its sources."""
    bench.spec = msgspec.structs.replace(bench.spec, delete_source=False)
    return bench


@each_way
async def test_each_content_is_sent_once(copying: Bench) -> None:
    """Goal: a kept source is sent once, a changed one again. Method: passes over unchanged, changed, renewed files."""
    copying.give("a.csv", b"one")
    copying.give("b.csv", b"two")
    assert (await copying.run()).delivered == 2
    assert copying.arrived() == {"a.csv": b"one", "b.csv": b"two"}
    assert copying.left() == ["a.csv", "b.csv"]
    assert (await copying.run()).delivered == 0
    copying.give("a.csv", b"longer")
    assert (await copying.run(term=8)).delivered == 1
    # Renamed into place with the same size and time: only the inode tells, and no server tells that.
    status = (copying.out / "b.csv").stat()
    later_s = not isinstance(copying.source_location, LocalLocationSpec)
    (copying.out / ".new").write_bytes(b"TWO")
    os.utime(copying.out / ".new", ns=(status.st_atime_ns, status.st_mtime_ns + later_s * 10**9))
    (copying.out / ".new").rename(copying.out / "b.csv")
    assert (await copying.run(term=8)).delivered == 1
    assert copying.arrived() == {"a.csv": b"longer", "b.csv": b"TWO"}
    assert copying.journal.records == {}
    assert copying.temps() == []


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what is missing count as gone at once, not after an hour."""
    monkeypatch.setattr(missing, "_GONE_S", 0.0)


@pytest.mark.usefixtures("at_once")
async def test_vanished_sources_leave_the_ledger(copying: Bench) -> None:
    """Goal: the ledger does not grow for ever. Method: remove a source, and a folder; the next pass reports both."""
    copying.spec = msgspec.structs.replace(copying.spec, recursive=True)
    for name in ("a.csv", "b.csv", "deep/er/c.csv"):
        copying.give(name)
    await copying.run()
    (copying.out / "a.csv").unlink()
    shutil.rmtree(copying.out / "deep")
    assert sorted((await copying.run()).gone) == ["a.csv", "deep/er/c.csv"]


async def test_they_leave_it_after_an_hour(copying: Bench) -> None:
    """Goal: what is missing for a moment is not gone. Method: set back the time at which it was first missed."""
    copying.give("a.csv")
    copying.give("b.csv")
    await copying.run()
    (copying.out / "a.csv").rename(copying.source / "away")
    assert (await copying.run()).gone == ()
    copying.memory.missing_since["a.csv"] -= 3601
    (copying.source / "away").rename(copying.out / "a.csv")
    await copying.run()
    (copying.out / "a.csv").unlink()
    assert (await copying.run()).gone == ()
    copying.memory.missing_since["a.csv"] -= 3601
    assert (await copying.run()).gone == ("a.csv",)


@pytest.mark.usefixtures("at_once")
async def test_out_of_sight_is_not_gone(copying: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: nothing is sent twice because it could not be seen for a while.

    Method: nothing mounted where the source folder is, and where a folder in it is; a folder that cannot be listed;
    filters and depth that mean less for a while.
    """
    copying.spec = wide = msgspec.structs.replace(copying.spec, recursive=True)
    names = ["a.csv", "b.txt", "sub/c.csv", "sub/deep/d.csv"]
    for name in names:
        copying.give(name)
    assert (await copying.run()).delivered == 4
    aside = copying.source / "aside"
    for mounted in (copying.out, copying.out / "sub"):
        mounted.rename(aside)
        mounted.mkdir()
        assert (await copying.run()).gone == ()
        mounted.rmdir()
        aside.rename(mounted)
    for less in ({"source_filter": "*.txt"}, {"recursive": False}, {"source_age_max_s": 1e-6}):
        copying.spec = msgspec.structs.replace(wide, **less)
        assert (await copying.run()).gone == ()
    copying.spec = wide
    copying.give("sub/e.csv")
    assert (await copying.run()).delivered == 1
    for error in (Denied("out/sub: permission denied"), NotFound("out/sub: vanished")):
        with monkeypatch.context() as patch:
            patch.setattr(LocalRemote, "scan", refusing(LocalRemote.scan, "out/sub", error))
            assert (await copying.run()).gone == ()
    assert (await copying.run()).delivered == 0


def by_path(bench: Bench, *, alone: bool = True) -> None:
    """Have sources known by their path alone, or by size and time again."""
    bench.spec = msgspec.structs.replace(bench.spec, resend_changed=not alone)


@each_way
async def test_known_by_path_alone(copying: Bench) -> None:
    """Goal: what was delivered is not sent again although it changed; new paths are. Method: the option on, off, on."""
    by_path(copying)
    copying.give("a.csv", b"one")
    copying.give("b.csv", b"two")
    assert (await copying.run()).delivered == 2
    copying.give("a.csv", b"longer")
    copying.give("c.csv", b"new")
    assert (await copying.run(term=8, sweep=True)).delivered == 1
    assert copying.arrived() == {"a.csv": b"one", "b.csv": b"two", "c.csv": b"new"}
    by_path(copying, alone=False)
    assert (await copying.run()).delivered == 1
    assert copying.arrived() == {"a.csv": b"longer", "b.csv": b"two", "c.csv": b"new"}
    copying.give("a.csv", b"longer than that")
    by_path(copying)
    assert (await copying.run()).delivered == 0
    assert copying.journal.records == {}
    assert copying.temps() == []


@pytest.mark.usefixtures("at_once")
async def test_a_path_that_is_gone_is_new_again(copying: Bench) -> None:
    """Goal: the ledger forgets as ever, but not what only changed. Method: one changes, one goes and comes back."""
    by_path(copying)
    for name in ("a.csv", "b.csv"):
        copying.give(name)
    await copying.run()
    copying.give("a.csv", b"longer")
    (copying.out / "b.csv").unlink()
    tally = await copying.run()
    assert (tally.delivered, tally.gone) == (0, ("b.csv",))
    del copying.journal.ledger["b.csv"]
    copying.give("b.csv", b"again")
    assert (await copying.run()).delivered == 1
    assert copying.arrived() == {"a.csv": b"content", "b.csv": b"again"}


@from_server
async def test_by_path_a_change_under_way_is_none(copying: Bench) -> None:
    """Goal: a path arrives once, whoever finishes it. Method: a leader dies after `intent`, then the source changes."""
    by_path(copying)
    copying.give("a.csv", b"one")
    copying.journal.after = lambda _delivery, state: LeadershipLost("killed") if state == "intent" else None
    with pytest.raises(LeadershipLost):
        await copying.run()
    copying.journal.after = lambda _delivery, _state: None
    copying.give("a.csv", b"longer")
    assert (await copying.run(8, sweep=True)).delivered == 1
    assert (await copying.run(8)).delivered == 0
    assert copying.arrived() == {"a.csv": b"one"}
    assert copying.journal.records == {}


async def test_by_path_a_new_marker_makes_a_new_batch(copying: Bench) -> None:
    """Goal: a marker of a fixed name does its work each time. Method: two batches, and a changed file of the first."""
    by_path(copying)
    copying.spec = msgspec.structs.replace(copying.spec, batch=BatchSpec(marker="ready"))
    copying.give("a.csv", b"one")
    copying.give("ready", b"1")
    assert (await copying.run()).delivered == 2
    copying.give("a.csv", b"longer")
    copying.give("b.csv", b"two")
    assert (await copying.run()).delivered == 0
    copying.give("ready", b"2nd")
    assert (await copying.run()).delivered == 2
    assert copying.arrived() == {"a.csv": b"one", "b.csv": b"two", "ready": b"2nd"}


async def test_a_server_may_keep_the_taken_to_itself(copying: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: what only is to be read needs no right to `.mft`, which our own service lets nobody into.

    Method: refuse to list it; where sources are taken, the error says what helps.
    """
    monkeypatch.setattr(
        LocalRemote, "scan", refusing(LocalRemote.scan, "out/.mft", Denied("out/.mft: permission denied"))
    )
    copying.give("a.csv")
    (copying.out / ".mft" / "x").mkdir(parents=True)
    assert (await copying.run(sweep=True)).delivered == 1
    assert (await copying.run()).delivered == 0
    copying.spec = msgspec.structs.replace(copying.spec, delete_source=True)
    with pytest.raises(Denied, match="delete_source"):
        await copying.run()


def refusing(
    scan: Callable[..., AsyncIterator[Entry]], refused: str, error: MftError
) -> Callable[..., AsyncIterator[Entry]]:
    """Give a `scan` that fails in one folder, after its first entry."""

    async def first_only(remote: LocalRemote, path: str) -> AsyncIterator[Entry]:
        async for entry in scan(remote, path):
            yield entry
            if path == refused:
                raise error

    return first_only


async def test_a_full_ledger_says_so(copying: Bench) -> None:
    """Goal: what the ledger cannot remember is not sent, and that is told. Method: a ledger of what cannot be seen."""
    copying.journal.ledger = {f"sub/f{number}": Kept(1, 1.0) for number in range(LEDGER_ENTRIES_MAX)}
    copying.give("new.csv")
    (copying.out / "sub").mkdir()
    with pytest.raises(Exhausted, match="ledger is full"):
        await copying.run()
    assert copying.arrived() == {}


@pytest.mark.parametrize("is_open", [False, True], ids=["changed", "open"])
async def test_a_full_ledger_holds_up_no_other(copying: Bench, is_open: bool) -> None:
    """Goal: what needs no room in it arrives. Method: a large file that it knows, changed; or an intent of a leader.

    That it is full is known while the large file is on its way, or before anything is.
    """
    content = os.urandom(20_000_000)
    copying.journal.ledger = {f"sub/f{number}": Kept(1, 1.0) for number in range(LEDGER_ENTRIES_MAX - 1)}
    copying.journal.ledger["a.csv"] = Kept(1, 1.0)
    (copying.out / "sub").mkdir()
    copying.give("a.csv", content)
    copying.give("new.csv")
    if is_open:
        delivery = new_delivery(copying.transfer, time.time())
        status = (copying.out / "a.csv").stat()
        copying.intend(delivery, "a.csv", copying.temp(delivery, content), size_bytes=len(content))
        kept = Kept(status.st_size, status.st_mtime, status.st_ino)
        record = msgspec.structs.replace(copying.journal.records[delivery], kept=kept)
        copying.journal.records[delivery] = record
    with pytest.raises(Exhausted, match="ledger is full"):
        await copying.run()
    assert copying.arrived() == {"a.csv": content}
    assert copying.journal.records == {}


async def test_a_full_ledger_empties(copying: Bench) -> None:
    """Goal: who follows the advice to archive some gets room. Method: sources that are gone, and a new one."""
    copying.journal.ledger = {f"f{number}": Kept(1, 1.0) for number in range(LEDGER_ENTRIES_MAX)}
    copying.give("new.csv")
    with pytest.raises(Exhausted):  # Storage may have gone for a moment.
        await copying.run()
    copying.memory.missing_since = dict.fromkeys(copying.journal.ledger, boottime() - 61)
    tally = await copying.run()
    assert (tally.delivered, len(tally.gone)) == (0, GONE_SOURCES_MAX)
    assert 0 < tally.wait_s <= 1
    for name in tally.gone:
        del copying.journal.ledger[name]
    assert (await copying.run()).delivered == 1


async def test_a_ledger_that_fills_is_told(copying: Bench) -> None:
    """Goal: operators hear in time, and not with each pass. Method: two passes over a ledger that is nearly full."""
    copying.spec = msgspec.structs.replace(copying.spec, recursive=True)
    copying.journal.ledger = {f"sub/f{number}": Kept(1, 1.0) for number in range(LEDGER_ENTRIES_MANY + 1)}
    (copying.out / "sub").mkdir()
    for _ in range(2):
        assert (await copying.run()).gone == ()
    told = [fields for event, fields in copying.events if event == catalogue.LEDGER_FILLS]
    assert told == [{"transfer": "t", "entries": LEDGER_ENTRIES_MANY + 1, "most": LEDGER_ENTRIES_MAX}]


@from_server
@pytest.mark.parametrize("written", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("state", ["intent", "done", "forget"])
async def test_broken_off_at_each_write(copying: Bench, state: str, written: bool) -> None:
    """Goal: exactly once, wherever it breaks off. Method: fail at each write, before or after it; a consumer takes."""
    copying.give("a.csv", b"content")
    failing: Callable[[str, str], MftError | None] = lambda _, told: Unavailable("cut") if told == state else None  # noqa: E731
    if written:
        copying.journal.after = failing
    else:
        copying.journal.before = failing
    with pytest.raises(Unavailable):
        await copying.run()
    taken = list(copying.arrived())
    for name in taken:
        (copying.inbox / name).unlink()
    copying.journal.before = copying.journal.after = lambda _delivery, _state: None
    await copying.run(term=8, sweep=True)
    await copying.run(term=8)
    taken += list(copying.arrived())
    assert taken == ["a.csv"]
    assert copying.left() == ["a.csv"]
    assert copying.journal.records == {}
    assert copying.temps() == []


async def test_a_transfer_that_began_to_keep_finishes_what_it_took(copying: Bench) -> None:
    """Goal: changing the option strands nothing. Method: a taken source of before, then a pass that keeps."""
    copying.taken("old.csv", b"old")
    copying.give("new.csv", b"new")
    await copying.run()
    assert copying.arrived() == {"old.csv": b"old", "new.csv": b"new"}
    assert copying.left() == ["new.csv"]


@from_server
async def test_a_kept_source_that_changes_while_it_is_read(copying: Bench) -> None:
    """Goal: no mixture is published, and the whole goes when it is stable. Method: append between two pieces."""
    copying.give("a.csv", os.urandom(4_000_000))

    def append() -> None:
        with (copying.out / "a.csv").open("ab") as file:
            file.write(b"more")

    tally = await run_with(copying, permit=At(4, append))
    assert (tally.delivered, tally.failed) == (0, 1)
    assert (copying.arrived(), copying.temps(), copying.journal.records) == ({}, [], {})
    assert (await copying.run()).delivered == 1
    assert copying.arrived() == {"a.csv": (copying.out / "a.csv").read_bytes()}


async def test_a_kept_source_that_vanishes(copying: Bench) -> None:
    """Goal: it fails alone. Method: remove it after it was listed, before it is read."""
    copying.give("a.csv")
    copying.give("b.csv")
    copying.spec = msgspec.structs.replace(copying.spec, parallel_files=1)
    tally = await run_with(copying, permit=At(1, lambda: (copying.out / "a.csv").unlink(missing_ok=True)))
    assert tally.delivered + tally.failed == 2
    assert copying.arrived().keys() >= {"b.csv"} or tally.delivered == 2
    assert copying.journal.records == {}
    assert copying.temps() == []
