"""Small files, many at one time: the same outcome for each as by itself, whatever happens to one of them on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mft.aio import boottime
from mft.errors import Conflict, LeadershipLost, MftError
from mft.events import catalogue
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import ArchiveSpec, BatchSpec, CommandsSpec, ConversionRule, NameRule
from mft.transfers.attempts import Attempts
from mft.transfers.bundle import FILES_MAX, bundler_of
from mft.transfers.delivery import Permit, RunContext
from mft.transfers.remotes.bundles import WHOLE_BYTES_MAX
from mft.transfers.run import Tally, run_pass
from mft.transfers.work import Work
from tests.integration.transfers.conftest import Bench, each_way

TAKE, WRITE, PUBLISH, REMOVE = range(4)
"""The outside effects of a bundle, in the order in which the permit is looked at before each."""
NAMES = [f"f{number}" for number in range(8)]


class Watched(Permit):
    """A permit that has something happen right before one of a bundle's outside effects."""

    def __init__(self, step: int, happens: Callable[[], None]) -> None:
        super().__init__(boottime() + 600)
        self._step = step
        self._happens = happens

    def check(self) -> None:
        """Let it happen, once."""
        super().check()
        self._step -= 1
        if self._step == -1:
            self._happens()


async def run_with(bench: Bench, step: int, happens: Callable[[], None]) -> Tally:
    """Make a pass in which this happens right before that step of the first bundle."""
    context = msgspec.structs.replace(await bench.context(), permit=Watched(step, happens))
    tally = Tally()
    await run_pass(context, dict(bench.journal.records), bench.stability, tally, sweep=False)
    return tally


def give_all(bench: Bench) -> None:
    for name in NAMES:
        bench.give(name, name.encode())


def expected(*but: str) -> dict[str, bytes]:
    return {name: name.encode() for name in NAMES if name not in but}


def taken_path(bench: Bench, name: str) -> Any:
    [path] = bench.out.glob(f".mft/*/{name}")
    return path


@each_way
@pytest.mark.parametrize("largest", [WHOLE_BYTES_MAX, WHOLE_BYTES_MAX + 1])
async def test_many_small_files_in_folders(bench: Bench, largest: int) -> None:
    """Goal: all arrive whole, and are journalled together. Method: 150 files of all sizes, in folders."""
    sizes = [0, 1, 4096, 30_000, largest]
    contents = {f"{'a/b/' * (n % 3)}file-{n}": os.urandom(sizes[n % 5]) for n in range(150)}
    for name, content in contents.items():
        bench.give(name, content)
    bench.spec = msgspec.structs.replace(bench.spec, recursive=True)
    tally = await bench.run()
    assert (tally.delivered, tally.failed) == (150, 0)
    assert bench.arrived() == contents
    bench.check_settled()
    assert [event for event, _ in bench.events] == [catalogue.FILE_DELIVERED] * 150
    assert {fields["path"]: fields["size_bytes"] for _, fields in bench.events} == {
        f"{bench.inbox}/{name}": len(content) for name, content in contents.items()
    }
    states = "".join(state[0] for _, state in bench.journal.told)
    # A source at a server is taken file by file: what is done in one moment is journalled together, as few as that are.
    bundled = largest == WHOLE_BYTES_MAX and isinstance(bench.source_location, LocalLocationSpec)
    together = FILES_MAX if bundled else 2
    assert "i" * together in states
    assert "d" * together in states


async def test_a_source_that_vanishes_or_changes_before_it_is_taken(bench: Bench) -> None:
    """Goal: the others arrive. Method: one is removed, one written to, one replaced by a folder, right before."""
    give_all(bench)

    def happens() -> None:
        (bench.out / "f1").unlink()
        (bench.out / "f2").write_bytes(b"f2 and more")
        (bench.out / "f3").unlink()
        (bench.out / "f3").mkdir()

    tally = await run_with(bench, TAKE, happens)
    assert bench.arrived() == expected("f1", "f2", "f3")
    assert tally.delivered == len(NAMES) - 3
    assert catalogue.SOURCE_VANISHED in [event for event, _ in bench.events]
    for folder in (path for path in bench.out.glob(".mft/*/f3") if path.is_dir()):
        folder.rmdir()
    await bench.run()
    assert bench.arrived() == expected("f1", "f3") | ({"f2": b"f2 and more"})
    bench.check_settled()


async def test_a_source_that_is_written_to_while_it_is_sent(bench: Bench) -> None:
    """Goal: no old content is published for new. Method: the producer still had it open when it was taken."""
    give_all(bench)

    def happens() -> None:
        with taken_path(bench, "f2").open("ab") as file:
            file.write(b" and more")

    tally = await run_with(bench, WRITE, happens)
    assert bench.temps() == []
    assert tally.delivered >= len(NAMES) - 1
    await bench.run()
    assert bench.arrived() == expected() | {"f2": b"f2 and more"}
    bench.check_settled()


async def test_a_name_that_cannot_be_had(bench: Bench) -> None:
    """Goal: one refusal is one file's. Method: a folder stands under a final name."""
    give_all(bench)
    (bench.inbox / "f2" / "x").mkdir(parents=True)
    tally = await bench.run()
    assert (tally.delivered, tally.failed) == (len(NAMES) - 1, 1)
    assert bench.arrived() == expected("f2")
    [record] = bench.journal.records.values()
    assert (record.name, record.state) == ("f2", "intent")
    (bench.inbox / "f2" / "x").rmdir()
    (bench.inbox / "f2").rmdir()
    await bench.run()
    assert bench.arrived() == expected()
    bench.check_settled()


async def test_a_temp_file_that_vanishes(bench: Bench) -> None:
    """Goal: it is uncertain, as by itself; the others arrive. Method: somebody removes it after the intent."""
    give_all(bench)

    def happens() -> None:
        [delivery] = [id for id, record in bench.journal.records.items() if record.name == "f2"]
        (bench.inbox / bench.journal.records[delivery].names[-1]).unlink()

    tally = await run_with(bench, PUBLISH, happens)
    assert (tally.delivered, tally.failed) == (len(NAMES) - 1, 1)
    assert bench.arrived() == expected("f2")
    assert [record.state for record in bench.journal.records.values()] == ["uncertain"]


async def test_a_folder_that_a_consumer_tidies_away(bench: Bench) -> None:
    """Goal: it is made again. Method: the folder at the destination is removed between upload and rename."""
    for name in NAMES:
        bench.give(f"sub/{name}", name.encode())
    bench.spec = msgspec.structs.replace(bench.spec, recursive=True)
    await run_with(bench, PUBLISH + 1, (bench.inbox / "sub").rmdir)  # One more check: making that folder.
    assert bench.arrived() == {f"sub/{name}": name.encode() for name in NAMES}
    bench.check_settled()


async def test_a_source_that_somebody_removes_after_done(bench: Bench) -> None:
    """Goal: gone is gone. Method: remove a taken source right before that is done here."""
    give_all(bench)
    tally = await run_with(bench, REMOVE, lambda: taken_path(bench, "f2").unlink())
    assert (tally.delivered, tally.failed) == (len(NAMES), 0)
    assert bench.arrived() == expected()
    bench.check_settled()


@pytest.mark.parametrize("state", ["intent", "done", "forget"])
async def test_the_journal_refuses_one(bench: Bench, state: str) -> None:
    """Goal: one record that is another's stops no other file. Method: refuse one write of each kind, once."""
    give_all(bench)
    refused: list[str] = []

    def before(delivery: str, wanted: str) -> MftError | None:
        if wanted == state and not refused:
            refused.append(delivery)
            return Conflict("not as this term left it")
        return None

    bench.journal.before = before
    tally = await bench.run()
    assert (tally.delivered, tally.failed) == (len(NAMES) - 1, 1)
    await bench.run(8, sweep=True)
    assert bench.arrived() == expected()
    bench.check_settled()


@pytest.mark.parametrize("step", [TAKE, WRITE, PUBLISH, REMOVE])
async def test_the_term_ends_before_each_effect(bench: Bench, step: int) -> None:
    """Goal: the next leader finishes, once each. Method: the deadline passes; a consumer takes files as they appear."""
    give_all(bench)
    took: list[str] = []

    def consume() -> None:
        for name in bench.arrived():
            (bench.inbox / name).unlink()
            took.append(name)

    def ends() -> None:
        raise LeadershipLost("the deadline of this term has passed")

    with pytest.raises(LeadershipLost):
        await run_with(bench, step, ends)
    consume()
    assert len(took) == (len(NAMES) if step == REMOVE else 0)
    await bench.run(8, sweep=True)
    consume()
    assert sorted(took) == NAMES
    bench.check_settled()


async def test_the_destination_takes_nothing(bench: Bench) -> None:
    """Goal: no source is lost, and nothing is left there. Method: its folder is away, then comes back."""
    give_all(bench)
    away = bench.inbox.with_name("away")
    bench.inbox.rename(away)
    with pytest.raises(MftError):
        await bench.run()
    away.rename(bench.inbox)
    await bench.run()
    assert bench.arrived() == expected()
    bench.check_settled()


async def test_nothing_new_is_begun_by_a_run_that_is_to_finish(bench: Bench) -> None:
    """Goal: a pause leaves what was not begun. Method: the permit takes nothing new."""
    give_all(bench)
    bench.permit.takes_new = False
    await bench.run()
    assert bench.left() == NAMES


WANTS_MORE: dict[str, dict[str, Any]] = {
    "kept sources": {"delete_source": False},
    "a look at the destination": {"overwrite_rule": "fail"},
    "a hash": {"content_check": "hash"},
    "a batch": {"batch": BatchSpec(interval_s=1)},
    "an archive": {"archive": ArchiveSpec(path="archived")},
    "commands": {"commands": CommandsSpec()},
    "names": {"names": (NameRule(action="lowercase"),)},
    "a fallback folder": {"destination_fallback_path": "unsorted"},
    "a date in a conversion": {"conversions": (ConversionRule(match="t/{date}*/", line_ends="lf"),)},
    "one at a time": {"parallel_files": 1},
}


@pytest.mark.parametrize("wish", WANTS_MORE)
async def test_what_wants_more_goes_one_by_one(bench: Bench, wish: str) -> None:
    """Goal: no step of a single file is left out. Method: each option that adds one, or bounds how many go."""

    def bundler(context: RunContext) -> object:
        tally = Tally()
        work = Work(context, {}, bench.stability, tally)
        return bundler_of(context, work, Attempts(context, work, tally))

    context = await bench.context()
    assert bundler(context) is not None
    spec = msgspec.structs.replace(context.spec, **WANTS_MORE[wish])
    assert bundler(msgspec.structs.replace(context, spec=spec)) is None
