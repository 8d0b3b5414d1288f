"""Errors that the program did not foresee: they stay with the file or the pass in which they came."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from mft.errors import MftError
from mft.events import catalogue
from mft.model.config import Config
from mft.model.locations import LocalLocationSpec, LocationSpec
from mft.transfers.remotes.base import Entry
from mft.transfers.remotes.local import LocalRemote
from mft.worker.outbound import as_text
from tests.integration.transfers.conftest import Bench
from tests.integration.transfers.test_worker_runs import here, transfer, working

__all__ = ["here"]


def fails_at_b(bench: Bench) -> None:
    """Have whatever is journalled of the source `b` end in a bug."""
    bench.journal.before = lambda delivery, state: _fail_at_b(bench, delivery)


def _fail_at_b(bench: Bench, delivery: str) -> MftError | None:
    if (bench.out / ".mft" / delivery / "b").exists():
        raise RuntimeError("a bug")
    return None


async def test_a_file_that_meets_a_bug_is_put_aside(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the others go on, and it is not tried for ever. Method: a bug in what looks at one file."""
    bench.spec = msgspec.structs.replace(
        bench.spec, parallel_files=1, retry=msgspec.structs.replace(bench.spec.retry, attempts_max=3)
    )
    for name in "abc":
        bench.give(name)
    lstat = LocalRemote.lstat

    async def with_a_bug(remote: LocalRemote, path: str) -> Entry:
        if path.endswith("/b"):
            raise RuntimeError("a bug")
        return await lstat(remote, path)

    monkeypatch.setattr(LocalRemote, "lstat", with_a_bug)
    tallies = [await bench.run() for _ in range(4)]
    assert [(tally.delivered, tally.failed) for tally in tallies] == [(2, 1), (0, 1), (0, 1), (0, 0)]
    assert sorted(bench.arrived()) == ["a", "c"]
    told = [fields for event, fields in bench.events if event == catalogue.INTERNAL_ERROR]
    assert (
        told == [{"transfer": "t", "reason": "internal error, please report it with the log: RuntimeError: a bug"}] * 3
    )
    assert [record.state for record in bench.journal.records.values()] == ["quarantined"]


async def test_a_bug_where_many_go_together(bench: Bench) -> None:
    """Goal: the same for small files, which go in bundles. Method: a bug at one of them; then they go one by one."""
    for name in "abc":
        bench.give(name)
    fails_at_b(bench)
    with pytest.raises(MftError, match="RuntimeError: a bug"):
        await bench.run()
    for _ in itertools.repeat(None, 3):
        await bench.run()
    assert sorted(bench.arrived()) == ["a", "c"]
    assert catalogue.INTERNAL_ERROR in [event for event, _ in bench.events]
    bench.journal.before = lambda delivery, state: None
    assert (await bench.run(sweep=True)).delivered == 1
    assert sorted(bench.arrived()) == ["a", "b", "c"]
    bench.check_settled()


async def test_a_bug_in_taking_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a source that cannot be taken for a bug holds up no other. Method: a bug at its rename, one by one."""
    bench.spec = msgspec.structs.replace(bench.spec, parallel_files=1)
    for name in "abc":
        bench.give(name)
    rename = LocalRemote.rename

    async def with_a_bug(remote: LocalRemote, old: str, new: str) -> None:
        if old == "out/b":
            raise ValueError("a bug")
        await rename(remote, old, new)

    monkeypatch.setattr(LocalRemote, "rename", with_a_bug)
    tally = await bench.run()
    assert (tally.delivered, tally.failed) == (2, 1)
    assert sorted(bench.arrived()) == ["a", "c"]
    assert catalogue.INTERNAL_ERROR in [event for event, _ in bench.events]


def test_events_can_be_sent_whatever_a_name_is() -> None:
    """Goal: a name that is no text ends nothing. Method: what a folder of an old program could be called."""
    assert as_text("caf\udce9-1") == "caf\\udce9-1"
    assert as_text(7) == 7


async def test_a_worker_outlives_a_bug(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: one transfer's bug does not end the others' runs. Method: a bug in listing one folder of two."""
    (here / "other").mkdir()
    (here / "other" / "file").write_bytes(b"content")
    scan = LocalRemote.scan

    def with_a_bug(remote: LocalRemote, path: str) -> object:
        if path == "out":
            raise RuntimeError("a bug")
        return scan(remote, path)

    monkeypatch.setattr(LocalRemote, "scan", with_a_bug)
    locations: dict[str, LocationSpec] = {
        "here": LocalLocationSpec(root=str(here)),
        "there": LocalLocationSpec(root=str(here / "in")),
    }
    config = Config(locations=locations, transfers={"bad": transfer(), "good": transfer(source_path="other")})
    async with working() as agent:
        await agent.configure(config)
        for _ in range(2):
            bad = await agent.run("bad")
            assert "RuntimeError: a bug" in bad.error
            assert bad.error_class == "configuration"
        assert (await agent.run("good")).delivered == 1
