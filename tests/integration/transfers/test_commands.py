"""Programs and steps that go with each file: when they run, what they get, and what comes of a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mft.errors import LeadershipLost
from mft.events import catalogue
from mft.model.transfer_parts import ArchiveSpec, CommandsSpec, NameRule, RetrySpec
from tests.integration.transfers.conftest import Bench, bench_at, sftp_location
from tests.integration.transfers.files import reasons, told, tree
from tests.rig.sshd import Sshd


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def with_commands(bench: Bench, **fields: Any) -> None:
    retry = RetrySpec(first_s=1e-6, most_s=1e-6, attempts_max=2)
    bench.spec = msgspec.structs.replace(bench.spec, commands=CommandsSpec(**fields), retry=retry)


async def test_before_and_after(bench: Bench, tmp_path: Path) -> None:
    """Goal: both can read the source and know where it goes. Method: write down all that they get, and the content."""
    said = tmp_path / "said"
    text = f'echo "$1 $2 $DESTINATION_NAME $TRANSFER" >> {said}; cat "$SOURCE_PATH" >> {said}; echo >> {said}'
    path = program(tmp_path, text)
    with_commands(
        bench,
        before=(path, "before", "{source.name}"),
        after_success=(path, "after", "{destination.path}"),
    )
    bench.spec = msgspec.structs.replace(bench.spec, names=(NameRule(action="template", template="by/{name}"),))
    bench.give("two words.csv")
    assert (await bench.run()).delivered == 1
    assert said.read_text().splitlines() == [
        "before two words.csv two words.csv t",
        "content",
        f"after {bench.inbox}/by/two words.csv two words.csv t",
        "content",
    ]
    bench.check_settled()


async def test_before_fails_its_file(bench: Bench, tmp_path: Path) -> None:
    """Goal: nothing of it is sent, the others go; put aside after its attempts, `after_failure` runs once."""
    said = tmp_path / "said"
    path = program(tmp_path, f'case $2 in bad) echo "no $2 today"; exit 7;; esac; [ $1 = before ] || echo $2 >> {said}')
    with_commands(bench, before=(path, "before", "{source.name}"), after_failure=(path, "failed", "{delivery}"))
    bench.give("bad")
    bench.give("good")
    for _ in range(4):
        await bench.run()
    assert tree(bench.inbox) == {"good": b"content"}
    assert "status 7; it printed: no bad today" in reasons(bench)[0]
    assert said.read_text().split() == list(bench.journal.records)
    assert told(bench, catalogue.FILE_QUARANTINED) == 1


async def test_after_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    """Goal: what fails after a delivery is told, and no more. Method: a program and a step that fail."""
    with_commands(
        bench,
        after_success=(program(tmp_path, "echo oh; exit 1"),),
        remote_after=(f"rename {bench.inbox}/x {bench.inbox}/y",),
    )
    bench.give("a")
    assert (await bench.run()).delivered == 1
    assert told(bench, catalogue.COMMAND_FAILED) == 2
    assert told(bench, catalogue.FILE_DELIVERED) == 1
    bench.check_settled()


async def test_steps_at_the_partner(bench: Bench) -> None:
    """Goal: each step does what it says, twice as well. Method: all four, and a failover before the end."""
    inbox = bench.inbox
    (inbox / "old").write_bytes(b"")
    (inbox / "empty").mkdir()
    with_commands(
        bench,
        remote_before=(f"mkdir {inbox}/new", f"rm {inbox}/old", f"rmdir {inbox}/empty"),
        remote_after=(f"rename '{{destination.path}}' '{inbox}/new/{{source.name}} of {{transfer}}'",),
    )
    bench.give("a")
    bench.journal.before = lambda _delivery, state: LeadershipLost("killed") if state == "forget" else None
    with pytest.raises(LeadershipLost):
        await bench.run()
    bench.journal.before = lambda _delivery, _state: None
    await bench.run(8, sweep=True)
    assert tree(inbox) == {"new/a of t": b"content"}
    assert sorted(path.name for path in inbox.iterdir()) == ["new"]
    assert told(bench, catalogue.COMMAND_FAILED) == 0
    bench.check_settled()


async def test_a_step_before_fails_its_file(bench: Bench) -> None:
    """Goal: it is not sent, and the message names the step. Method: rename what is not there."""
    with_commands(bench, remote_before=(f"rename {bench.inbox}/x {bench.inbox}/y",))
    bench.give("a")
    assert (await bench.run()).failed == 1
    assert tree(bench.inbox) == {}
    assert "the step 'rename" in reasons(bench)[0]


async def test_steps_for_a_file_that_is_given_up(bench: Bench, tmp_path: Path) -> None:
    """Goal: the partner learns once of what will not come, by the name it was to have. Method: `before` refuses it.

    The source still stands where the program is told, although it is moved away afterwards.
    """
    said = tmp_path / "said"
    path = program(tmp_path, f'[ $1 = failed ] && cat "$SOURCE_PATH" >> {said}; exit 7')
    with_commands(
        bench,
        before=(path, "before"),
        after_failure=(path, "failed"),
        remote_after_failure=(f"mkdir '{bench.inbox}/lost {{destination.name}}'", f"rm {bench.inbox}/announced"),
    )
    archive, rules = ArchiveSpec(failure_path="failed"), (NameRule(action="uppercase"),)
    bench.spec = msgspec.structs.replace(bench.spec, names=rules, archive=archive)
    bench.give("a.csv")
    (bench.inbox / "announced").write_bytes(b"")
    await bench.run()
    assert [path.name for path in bench.inbox.iterdir()] == ["announced"]
    for _ in range(3):
        await bench.run()
    assert [path.name for path in bench.inbox.iterdir()] == ["lost A.CSV"]
    assert said.read_text() == "content"
    assert told(bench, catalogue.FILE_QUARANTINED) == 1
    assert told(bench, catalogue.COMMAND_FAILED) == 1  # The program, by its status.
    assert [content for name, content in tree(bench.source).items() if name.startswith("failed/")] == [b"content"]
    bench.check_settled()


async def test_a_failing_step_for_a_file_that_is_given_up(bench: Bench, tmp_path: Path) -> None:
    """Goal: it is told and changes nothing. Method: rename what is not there."""
    step = f"rename {bench.inbox}/x {bench.inbox}/y"
    with_commands(bench, before=(program(tmp_path, "exit 7"),), remote_after_failure=(step,))
    bench.give("a")
    for _ in range(3):
        await bench.run()
    assert [record.state for record in bench.journal.records.values()] == ["quarantined"]
    [failed] = [fields for event, fields in bench.events if event == catalogue.COMMAND_FAILED]
    assert failed["command"] == "remote_after_failure"
    assert step in failed["reason"]


async def test_the_partner_is_lost_when_a_file_is_given_up(tmp_path: Path) -> None:
    """Goal: that is told and changes nothing. Method: kill the server right after the quarantine is journalled."""
    server, inbox = Sshd(tmp_path / "sshd"), tmp_path / "inbox"
    inbox.mkdir()
    try:
        await server.start()
        async with bench_at(tmp_path, inbox, sftp_location(server)) as bench:
            step = f"mkdir {inbox}/failed"
            with_commands(bench, before=(program(tmp_path, "exit 7"),), remote_after_failure=(step,))
            bench.journal.after = lambda _delivery, state: server.kill() if state == "quarantined" else None
            bench.give("a")
            for _ in range(2):
                await bench.run()
            assert [record.state for record in bench.journal.records.values()] == ["quarantined"]
            assert told(bench, catalogue.COMMAND_FAILED) == 1
            assert list(inbox.iterdir()) == []
    finally:
        server.kill()
