"""Expressions with dates: which day's files are taken, and what midnight changes. The tests say when a pass began."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from mft.errors import MftError, Unavailable
from mft.events import catalogue
from mft.model.starts import StartSpec
from mft.model.transfer_parts import BatchSpec, NameRule, RetrySpec
from mft.transfers.work import Tally
from tests.integration.transfers.conftest import Bench, each_way
from tests.integration.transfers.files import At, cut, run_with, told, tree

ZONE = "Pacific/Auckland"
"""Thirteen hours ahead of UTC: a day by the wrong clocks is another one."""
DAYS = {"20261128": "2026-11-28 09:00", "20261129": "2026-11-29 09:00", "20261130": "2026-11-30 09:00"}


def change(bench: Bench, **changes: Any) -> None:
    """Change the bench's transfer."""
    bench.spec = msgspec.structs.replace(bench.spec, **changes)


async def run(bench: Bench, day: str, term: int = 7) -> Tally:
    """Make a pass that began on this day, when in UTC it was still the day before."""
    began_at = datetime.fromisoformat(DAYS[day]).replace(tzinfo=ZoneInfo(ZONE)).timestamp()
    return await run_with(bench, term, sweep=True, began_at=began_at)


@pytest.fixture
def dated(bench: Bench) -> Bench:
    """Give a bench in the zone."""
    change(bench, start=StartSpec(time_zone=ZONE), retry=RetrySpec(first_s=1e-6, most_s=1e-6, attempts_max=3))
    return bench


@each_way
async def test_the_files_of_its_day_are_taken(dated: Bench) -> None:
    """Goal: today's by the transfer's clocks, or those of other days. Method: one pass each over files of all days."""
    for day in DAYS:
        dated.give(f"report-{day}.csv", day.encode())
    dated.give("report.csv")
    change(dated, source_filter="t/REPORT-{date}*.CSV/i")
    await run(dated, "20261129")
    assert sorted(dated.arrived()) == ["report-20261129.csv"]
    change(dated, source_filter="t/report-{year}{month}{day}*.csv/-1d")
    await run(dated, "20261129")
    assert sorted(dated.arrived()) == ["report-20261128.csv", "report-20261129.csv"]
    change(dated, source_filter="t/report-{date}*.csv/-2d..0d")
    dated.give("report-20261128.csv", b"late")
    await run(dated, "20261130")
    assert dated.arrived() == {
        "report-20261128.csv": b"late",
        "report-20261129.csv": b"20261129",
        "report-20261130.csv": b"20261130",
    }
    assert dated.left() == ["report.csv"]


async def test_all_of_a_pass_is_judged_by_the_day_on_which_it_began(dated: Bench) -> None:
    """Goal: what the filter means the rules mean too. Method: a pass that goes on until the next day and later."""
    change(
        dated,
        source_filter="t/*-{date}/",
        names=(
            NameRule(match="t/*-{date}/", action="template", template="today/{group.1}"),
            NameRule(match="t/*-{date}/-1d", action="template", template="yesterday/{group.1}"),
        ),
    )
    for name in ("a", "b", "c"):
        dated.give(f"{name}-20261128")
    assert (await run(dated, "20261128")).delivered == 3
    assert sorted(tree(dated.inbox)) == ["today/a", "today/b", "today/c"]
    dated.check_settled()


async def test_a_later_attempt_uses_the_same_name(dated: Bench) -> None:
    """Goal: a date in a rule is that of taking. Method: broken off before its intent, gone on with the day after."""
    change(dated, names=(NameRule(match="t/*-{date}/", action="fixed-path", template="todays"),))
    dated.give("a-20261128")
    dated.give("a-20261129")
    dated.journal.before = lambda _, state: Unavailable("cut") if state == "intent" else None
    with pytest.raises(Unavailable):
        await run(dated, "20261128")
    dated.journal.before = lambda _delivery, _state: None
    await run(dated, "20261129", 8)
    assert sorted(dated.arrived()) == ["a-20261129", "todays"]
    dated.check_settled()


def _give_batch(bench: Bench, day: str) -> set[str]:
    names = {f"a-{day}", f"b-{day}", f"{day}.done"}
    for name in names:
        bench.give(name)
    return names


@pytest.mark.parametrize("keeps", [False, True], ids=["taken", "kept"])
@pytest.mark.parametrize("number", range(1, 9))
async def test_a_batch_that_is_begun_before_midnight_is_finished(dated: Bench, number: int, keeps: bool) -> None:
    """Goal: it stays the batch of its day, whole, and the next day's is another. Method: fail at each write in turn.

    The next day's files are there when a successor goes on. A consumer takes what appears.
    """
    marker = BatchSpec(marker="t/{date}.done/")
    change(dated, batch=marker, source_filter="t/*-{date}/", delete_source=not keeps, parallel_files=1)
    names = _give_batch(dated, "20261128")
    writes = 0

    def fails(_delivery: str, _state: str) -> MftError | None:
        nonlocal writes
        writes += 1
        return Unavailable("cut") if writes == number else None

    dated.journal.after = fails
    with pytest.raises(Unavailable):
        await run(dated, "20261128")
    dated.journal.after = lambda _delivery, _state: None
    consumed = set(dated.arrived())
    for name in consumed:
        (dated.inbox / name).unlink()
    following = _give_batch(dated, "20261129")
    while not names <= consumed:
        await run(dated, "20261129", 8)
        again = set(dated.arrived())
        assert again, "the batch is not gone on with"
        assert not again & (consumed | following), "twice, or mixed with the next"
        consumed |= again
        for name in again:
            (dated.inbox / name).unlink()
    for _ in range(2):
        await run(dated, "20261129", 8)
    assert set(dated.arrived()) == following
    assert dated.journal.records == {}


async def test_half_of_a_batch_is_taken_before_midnight(dated: Bench) -> None:
    """Goal: its other half is not left behind. Method: some taken, no record, the marker there; the next day.

    What was taken carries its time in its delivery's id: there is nothing else by which to know.
    """
    change(dated, batch=BatchSpec(marker="t/{date}.done/"), source_filter="t/*-{date}/")
    names = _give_batch(dated, "20261128")
    began_at = datetime.fromisoformat(DAYS["20261128"]).replace(tzinfo=ZoneInfo(ZONE)).timestamp()
    with pytest.raises(Unavailable):
        await run_with(dated, began_at=began_at, permit=At(2, cut))
    assert len([path for path in dated.left() if path.startswith(".mft/")]) == 1
    await run(dated, "20261129", 8)
    assert set(dated.arrived()) == names
    dated.check_settled()


async def test_a_kept_source_is_sent_once_whatever_its_date(dated: Bench) -> None:
    """Goal: nothing twice when a date comes back into view. Method: days on and back, and a folder with other files."""
    change(dated, delete_source=False, source_filter="t/*-{date}/")
    for day in DAYS:
        dated.give(f"a-{day}")
    delivered = [(await run(dated, day)).delivered for day in ("20261128", "20261129", "20261128", "20261130")]
    assert delivered == [1, 1, 0, 1]
    change(dated, source_filter="t/*-{date}/-2d..0d")
    assert (await run(dated, "20261130")).delivered == 0


async def test_a_kept_source_that_failed_is_tried_again_on_the_next_day(dated: Bench) -> None:
    """Goal: what was told to be tried again is. Method: a folder that cannot be made; another file that comes late."""
    change(dated, delete_source=False, recursive=True, source_filter="t/*-{date}/")
    (dated.inbox / "bad").write_bytes(b"in the way")
    dated.give("bad/a-20261128")
    assert (await run(dated, "20261128")).failed == 1
    dated.give("late-20261128")
    assert (await run(dated, "20261129")).failed == 1
    (dated.inbox / "bad").unlink()
    assert (await run(dated, "20261129")).delivered == 1
    assert sorted(tree(dated.inbox)) == ["bad/a-20261128"]
    assert told(dated, catalogue.FILE_FAILED_WILL_RETRY) == 2
    assert (await run(dated, "20261129")).delivered == 0
