"""Names at the destination: rules, folders, temp names, and what stays the same from attempt to attempt."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mft.errors import Denied, LeadershipLost
from mft.events import catalogue
from mft.model.transfer_parts import NameRule
from tests.integration.transfers.conftest import Bench, bench_at, sftp_location
from tests.integration.transfers.files import reasons, tree
from tests.rig.sshd import Sshd


def rename(bench: Bench, *rules: NameRule) -> None:
    bench.spec = msgspec.structs.replace(bench.spec, names=rules)


async def test_rules_and_folders(bench: Bench) -> None:
    """Goal: files come under the names that rules make, in folders that are made. Method: two files, one folder."""
    rename(bench, NameRule(action="template", template="by/{extension}/{stem}", match="*.*"))
    for name in ("a.csv", "b.csv", "c"):
        bench.give(name, name.encode())
    assert (await bench.run()).delivered == 3
    assert tree(bench.inbox) == {"by/.csv/a": b"a.csv", "by/.csv/b": b"b.csv", "c": b"c"}
    bench.check_settled()
    delivered = {fields["path"] for event, fields in bench.events if event == catalogue.FILE_DELIVERED}
    assert delivered == {f"{bench.inbox}/{name}" for name in ("by/.csv/a", "by/.csv/b", "c")}


async def test_a_folder_that_a_consumer_removes(bench: Bench) -> None:
    """Goal: a folder that vanishes between two files, or before the rename, is made anew. Method: remove it then."""
    rename(bench, NameRule(action="template", template="sub/{name}"))
    bench.give("a")
    await bench.run()

    def tidies(_delivery: str, state: str) -> None:
        if state == "intent":
            (bench.inbox / "sub" / "a").unlink(missing_ok=True)
            (bench.inbox / "sub").rmdir()

    bench.journal.after = tidies
    bench.give("b")
    assert (await bench.run()).delivered == 1
    assert tree(bench.inbox) == {"sub/b": b"content"}
    bench.check_settled()


async def test_an_unusable_name_fails_its_file_alone(bench: Bench) -> None:
    """Goal: the others go, and the message says why. Method: a rule that leads out for one of two names."""
    rename(bench, NameRule(action="template", template="../{name}", match="bad*"))
    bench.give("bad")
    bench.give("good")
    tally = await bench.run()
    assert (tally.delivered, tally.failed) == (1, 1)
    assert tree(bench.inbox) == {"good": b"content"}
    assert not (bench.inbox.parent / "bad").exists()
    assert any("'../bad' of bad" in reason for reason in reasons(bench))


async def test_the_name_is_settled_before_the_first_intent(bench: Bench) -> None:
    """Goal: a later attempt publishes under the name that was journalled. Method: the rules change in between."""
    rename(bench, NameRule(action="template", template="first/{now.timestamp}-{name}"))
    bench.give("a")
    bench.journal.after = lambda _delivery, state: LeadershipLost("killed") if state == "intent" else None
    try:
        await bench.run()
    except LeadershipLost:
        pass
    [record] = bench.journal.records.values()
    assert record.target.startswith("first/")
    assert record.name == "a"
    bench.journal.after = lambda _delivery, _state: None
    rename(bench, NameRule(action="template", template="second/{name}"))
    (bench.inbox / "first").rmdir()
    await bench.run(8, sweep=True)
    assert list(tree(bench.inbox)) == [record.target]
    bench.check_settled()


async def test_own_temp_names(bench: Bench) -> None:
    """Goal: temp files have the prefix and suffix, and those of before a change are swept. Method: look at intent."""
    bench.spec = msgspec.structs.replace(bench.spec, temporary_prefix="up-", temporary_suffix=".tmp")
    seen: list[str] = []
    bench.journal.after = lambda _delivery, _state: seen.extend(path.name for path in bench.inbox.iterdir())
    bench.give("a")
    await bench.run()
    assert any(name.startswith("up-") and name.endswith(".tmp") for name in seen)
    bench.journal.after = lambda _delivery, _state: None
    bench.temp(bench.taken("b"))
    await bench.run(8, sweep=True)
    assert bench.arrived() == {"a": b"content", "b": b"content"}
    bench.check_settled()


async def test_a_partner_that_lets_nobody_make_folders(tmp_path: Path) -> None:
    """Goal: a refusal is told as one, nothing is lost, and it heals. Method: a server without mkdir; then a folder."""
    server = Sshd(tmp_path / "sshd")
    config = tmp_path / "sshd" / "sshd_config"
    config.write_text(config.read_text().replace("ForceCommand internal-sftp", "ForceCommand internal-sftp -P mkdir"))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    try:
        await server.start()
        async with bench_at(tmp_path, inbox, sftp_location(server)) as bench:
            rename(bench, NameRule(action="template", template="sub/{name}"))
            bench.give("a")
            with pytest.raises(Denied, match="make folder"):
                await bench.run()
            assert bench.temps() == []
            assert len(bench.left()) == 1
            (inbox / "sub").mkdir()
            await bench.run(8, sweep=True)
            assert tree(inbox) == {"sub/a": b"content"}
            bench.check_settled()
    finally:
        server.kill()
