"""Files and folders that are closed to the nodes' account: told, blamed on what is closed, sent when it is open."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from mft.errors import Denied
from mft.events import catalogue
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import RetrySpec
from mft.transfers.run import Tally, run_pass
from tests.integration.transfers.conftest import Bench, bench_at
from tests.integration.transfers.files import reasons, told
from tests.rig.unprivileged import closed, unprivileged

MANY = [f"f{number:02}" for number in range(30)]
"""More than are refused before it counts as the folder's fault."""


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Give a bench between two folders, for whom files and folders may be closed."""
    with unprivileged() as folder:
        inbox = folder / "inbox"
        inbox.mkdir()
        async with bench_at(folder, inbox, LocalLocationSpec(root="/")) as bench:
            retry = RetrySpec(first_s=1e-6, most_s=1e-6, attempts_max=3)
            bench.spec = msgspec.structs.replace(bench.spec, retry=retry)
            yield bench


async def denied(bench: Bench) -> Tally:
    """Make a pass that is denied something as a whole."""
    tally = Tally()
    with pytest.raises(Denied, match="ermission denied"):
        await run_pass(await bench.context(), dict(bench.journal.records), bench.stability, tally, sweep=False)
    return tally


@pytest.mark.parametrize("is_kept", [False, True], ids=["taken", "kept"])
async def test_a_source_that_cannot_be_read(bench: Bench, is_kept: bool) -> None:
    """Goal: it is put aside, the others go on; when it is open it is sent. Method: no rights at it, then `resend`."""
    bench.spec = msgspec.structs.replace(bench.spec, delete_source=not is_kept)
    for name in ("bad", "good1", "good2"):
        bench.give(name)
    (bench.out / "bad").chmod(0)
    tallies = [await bench.run() for _ in range(5)]
    assert [tally.failed for tally in tallies] == [1, 1, 1, 0, 0]
    assert sorted(bench.arrived()) == ["good1", "good2"]
    assert all("ermission denied" in reason for reason in reasons(bench))
    assert told(bench, catalogue.FILE_FAILED_WILL_RETRY) == 3
    assert told(bench, catalogue.FILE_QUARANTINED) == 1
    [(delivery, record)] = bench.journal.records.items()
    assert record.state == "quarantined"
    [path] = bench.out.rglob("bad")
    path.chmod(0o600)
    await bench.journal.put(delivery, msgspec.structs.replace(record, state="taken"))
    await bench.run(8)
    assert sorted(bench.arrived()) == ["bad", "good1", "good2"]
    assert bench.journal.records == {}
    assert bench.temps() == []


@pytest.mark.parametrize("mode", [0o500, 0o300], ids=["nothing can be taken", "it cannot be listed"])
async def test_a_closed_source_folder(bench: Bench, mode: int) -> None:
    """Goal: no file is blamed, and all are sent when it is open. Method: more passes than a file has attempts."""
    for name in MANY:
        bench.give(name)
    with closed(bench.out, mode):
        for _ in range(4):
            failure = (await denied(bench)).failure
            assert failure is not None
            assert (failure.kind, failure.location) == ("configuration", "source")
    assert bench.left() == MANY
    assert (await bench.run()).delivered == len(MANY)
    assert told(bench, catalogue.FILE_QUARANTINED) == 0
    bench.check_settled()


async def test_few_files_in_a_closed_source_folder(bench: Bench) -> None:
    """Goal: what cannot be taken is told, file by file, and tried again. Method: fewer than count as the folder."""
    bench.give("a")
    bench.give("b")
    with closed(bench.out, 0o500):
        for _ in range(4):
            assert (await bench.run()).failed == 2
    assert told(bench, catalogue.FILE_FAILED_WILL_RETRY) == 8
    assert (await bench.run()).delivered == 2
    assert told(bench, catalogue.FILE_QUARANTINED) == 0
    bench.check_settled()


async def test_a_closed_folder_below_the_source_folder(bench: Bench) -> None:
    """Goal: it is told with its path, and the rest goes on. Method: no rights at one of two folders, then all again."""
    bench.spec = msgspec.structs.replace(bench.spec, recursive=True)
    for name in ("a", "open/b", "closed/c"):
        bench.give(name)
    with closed(bench.out / "closed"):
        await bench.run()
    assert sorted(bench.arrived()) == ["a", "open/b"]
    assert [fields["path"] for id, fields in bench.events if id == catalogue.FILE_FAILED_WILL_RETRY] == ["out/closed"]
    await bench.run()
    assert sorted(bench.arrived()) == ["a", "closed/c", "open/b"]


@pytest.mark.parametrize("mode", [0o500, 0], ids=["nothing can be written", "it cannot be entered"])
async def test_a_closed_destination_folder(bench: Bench, mode: int) -> None:
    """Goal: no file is blamed, few are taken, all go when it is open. Method: more passes than a file has attempts."""
    for name in MANY:
        bench.give(name, bytes(50_000))
    with closed(bench.inbox, mode):
        for _ in range(4):
            failure = (await denied(bench)).failure
            assert failure is not None
            assert (failure.kind, failure.location) == ("configuration", "partner")
    untouched = [name for name in bench.left() if "/" not in name]
    assert len(untouched) >= len(MANY) - 2 * bench.spec.parallel_files
    assert (await bench.run()).delivered == len(MANY)
    assert told(bench, catalogue.FILE_QUARANTINED) == 0
    bench.check_settled()
