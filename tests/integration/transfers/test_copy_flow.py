"""Sources that are kept: each content once, whatever an earlier attempt left behind."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import pytest

from mft.errors import Exhausted, MftError, Unavailable
from mft.model.delivery import LEDGER_ENTRIES_MAX, Kept
from tests.integration.transfers.conftest import Bench
from tests.integration.transfers.files import At, run_with


@pytest.fixture
def copying(bench: Bench) -> Bench:
    """Give a bench whose transfer keeps its sources."""
    bench.spec = msgspec.structs.replace(bench.spec, delete_source=False)
    return bench


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
    # Renamed into place with the same size and time: only the inode tells.
    status = (copying.out / "b.csv").stat()
    (copying.out / ".new").write_bytes(b"TWO")
    os.utime(copying.out / ".new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (copying.out / ".new").rename(copying.out / "b.csv")
    assert (await copying.run(term=8)).delivered == 1
    assert copying.arrived() == {"a.csv": b"longer", "b.csv": b"TWO"}
    assert copying.journal.records == {}
    assert copying.temps() == []


async def test_vanished_sources_leave_the_ledger(copying: Bench) -> None:
    """Goal: the ledger does not grow for ever. Method: remove a delivered source; the next pass reports it."""
    copying.give("a.csv")
    copying.give("b.csv")
    await copying.run()
    (copying.out / "a.csv").unlink()
    assert (await copying.run()).gone == ("a.csv",)


async def test_a_full_ledger_says_so(copying: Bench) -> None:
    """Goal: what the ledger cannot remember is not sent, and that is told. Method: a ledger at its bound."""
    copying.journal.ledger = {f"f{number}": Kept(1, 1.0) for number in range(LEDGER_ENTRIES_MAX)}
    copying.give("new.csv")
    with pytest.raises(Exhausted, match="ledger is full"):
        await copying.run()
    assert copying.arrived() == {}


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
