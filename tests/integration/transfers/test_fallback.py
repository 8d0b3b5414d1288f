"""A folder for what has none at the destination: where a file goes is settled once, and it goes there once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from mft.errors import Denied, LeadershipLost, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.transfer_parts import BatchSpec, CommandsSpec, NameRule, OverwriteRule, RetrySpec
from mft.transfers.naming import stamped
from mft.transfers.remotes.base import Entry
from mft.transfers.run import Tally, run_pass
from tests.integration.transfers.conftest import Bench
from tests.integration.transfers.files import reasons, told, tree, with_remote


def change(bench: Bench, **changes: Any) -> None:
    bench.spec = msgspec.structs.replace(bench.spec, **changes)


@pytest.fixture
def sorting(bench: Bench) -> Bench:
    """Give a bench whose files go into folders, or to `unsorted` where these are missing."""
    change(bench, recursive=True, destination_fallback_path="unsorted")
    return bench


def fall(bench: Bench, state: str) -> None:
    """Have leadership end right after a write of this state."""
    bench.journal.after = lambda _delivery, told: LeadershipLost("killed") if told == state else None


def stand(bench: Bench) -> None:
    bench.journal.after = lambda _delivery, _state: None


async def fallen(bench: Bench, state: str) -> None:
    """Make a pass that ends right after a write of this state."""
    fall(bench, state)
    with pytest.raises(LeadershipLost):
        await bench.run()
    stand(bench)


def tidies_at(bench: Bench, state: str, folder: str) -> None:
    """Have a consumer remove this folder right after the first write of this state."""

    def tidies(_delivery: str, told: str) -> None:
        if told == state and (bench.inbox / folder).exists():
            (bench.inbox / folder).rmdir()

    bench.journal.after = tidies


def diverted(bench: Bench) -> list[Mapping[str, Any]]:
    return [fields for event, fields in bench.events if event == catalogue.DESTINATION_FOLDER_MISSING]


async def test_only_what_has_no_folder_goes_there(sorting: Bench) -> None:
    """Goal: no folder is made but there, two of one name do not meet, and it is told where each went.

    Method: a file whose folder is there, two below folders that are not, one that needs none.
    """
    (sorting.inbox / "known").mkdir()
    for name in ("known/a", "new/a", "known/deep/er/a", "a"):
        sorting.give(name, name.encode())
    assert (await sorting.run()).delivered == 4
    expected = {"a": b"a", "known/a": b"known/a", "unsorted/known/deep/er/a": b"known/deep/er/a"}
    assert tree(sorting.inbox) == expected | {"unsorted/new/a": b"new/a"}
    assert not (sorting.inbox / "new").exists()
    inbox = str(sorting.inbox)
    assert sorted((fields["path"], fields["folder"], fields["destination"]) for fields in diverted(sorting)) == [
        ("out/known/deep/er/a", f"{inbox}/known/deep/er", f"{inbox}/unsorted/known/deep/er/a"),
        ("out/new/a", f"{inbox}/new", f"{inbox}/unsorted/new/a"),
    ]
    delivered = {fields["path"] for event, fields in sorting.events if event == catalogue.FILE_DELIVERED}
    assert delivered == {f"{inbox}/{name}" for name in (*expected, "unsorted/new/a")}
    sorting.check_settled()


async def test_a_folder_that_comes_is_used_from_then_on(sorting: Bench) -> None:
    """Goal: who makes the folder gets the next file. Method: a file before and one after it is made."""
    sorting.give("new/a")
    await sorting.run()
    (sorting.inbox / "new").mkdir()
    sorting.give("new/b")
    await sorting.run()
    assert list(tree(sorting.inbox)) == ["new/b", "unsorted/new/a"]


async def test_rules_make_the_folder(bench: Bench) -> None:
    """Goal: it is the computed folder that counts, and commands get the path. Method: a rule, and a step after it."""
    step = f"rename '{{destination.path}}' '{bench.inbox}/unsorted/{{destination.name}}.ready'"
    rules = (NameRule(action="template", template="by/{extension}/{stem}"),)
    change(bench, names=rules, destination_fallback_path="unsorted", commands=CommandsSpec(remote_after=(step,)))
    bench.give("a.csv")
    await bench.run()
    assert list(tree(bench.inbox)) == ["unsorted/a.ready"]
    assert told(bench, catalogue.COMMAND_FAILED) == 0


async def test_what_stands_where_a_folder_should(sorting: Bench) -> None:
    """Goal: a link to a folder is one, a file and a dangling link are none. Method: one of each."""
    (sorting.inbox / "real").mkdir()
    (sorting.inbox / "link").symlink_to("real")
    (sorting.inbox / "dangling").symlink_to("nowhere")
    (sorting.inbox / "file").write_bytes(b"")
    for folder in ("link", "dangling", "file"):
        sorting.give(f"{folder}/sub/a" if folder == "file" else f"{folder}/a")
    assert (await sorting.run()).delivered == 3
    assert list(tree(sorting.inbox)) == ["file", "real/a", "unsorted/dangling/a", "unsorted/file/sub/a"]


@pytest.mark.parametrize("error", [Denied("closed"), Unavailable("cut")], ids=["closed", "cut"])
async def test_what_cannot_be_seen_is_not_missing(sorting: Bench, error: MftError) -> None:
    """Goal: an outage or a closed folder diverts nothing. Method: the look at the folder fails so."""
    (sorting.inbox / "known").mkdir()
    sorting.give("known/a")
    context = await sorting.context()
    look = context.destination.lstat

    async def lstat(path: str) -> Entry:
        if path.endswith("known"):
            raise error
        return await look(path)

    tally = Tally()
    with pytest.raises(type(error)):
        await run_pass(with_remote(context, "destination", lstat=lstat), {}, sorting.stability, tally, sweep=False)
    assert tree(sorting.inbox) == {}
    assert sorting.temps() == []
    await sorting.run(8, sweep=True)
    assert tree(sorting.inbox) == {"known/a": b"content"}
    sorting.check_settled()


async def test_the_destination_folder_is_never_made(sorting: Bench) -> None:
    """Goal: what is not mounted gets no fallback folder. Method: take the destination folder away, and back."""
    sorting.give("new/a")
    away = sorting.inbox.with_name("away")
    sorting.inbox.rename(away)
    with pytest.raises(NotFound):
        await sorting.run()
    assert not sorting.inbox.exists()
    away.rename(sorting.inbox)
    await sorting.run(8, sweep=True)
    assert tree(sorting.inbox) == {"unsorted/new/a": b"content"}
    sorting.check_settled()


# ---- between settling and publishing


async def test_a_successor_uses_the_fallback_that_was_settled(sorting: Bench) -> None:
    """Goal: where it goes does not change any more. Method: die after `intent`; the folder comes, the option goes."""
    sorting.give("new/a")
    await fallen(sorting, "intent")
    [record] = sorting.journal.records.values()
    assert record.target == "unsorted/new/a"
    (sorting.inbox / "new").mkdir()
    change(sorting, destination_fallback_path="")
    await sorting.run(8, sweep=True)
    assert tree(sorting.inbox) == {"unsorted/new/a": b"content"}
    sorting.check_settled()


async def test_a_successor_uses_the_folder_that_was_settled(sorting: Bench) -> None:
    """Goal: the same the other way round. Method: die after `intent`; the folder stays, others have gone."""
    (sorting.inbox / "known").mkdir()
    sorting.give("known/a")
    await fallen(sorting, "intent")
    await sorting.run(8, sweep=True)
    assert tree(sorting.inbox) == {"known/a": b"content"}
    assert diverted(sorting) == []
    sorting.check_settled()


async def test_the_folder_goes_between_intent_and_rename(sorting: Bench) -> None:
    """Goal: what has nowhere to go goes to the fallback at once, and says so. Method: a consumer tidies it away."""
    (sorting.inbox / "known").mkdir()
    tidies_at(sorting, "intent", "known")
    sorting.give("known/a")
    assert (await sorting.run()).delivered == 1
    assert tree(sorting.inbox) == {"unsorted/known/a": b"content"}
    assert not (sorting.inbox / "known").exists()
    assert len(diverted(sorting)) == 1
    sorting.check_settled()


@pytest.mark.parametrize("written", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize("write", range(1, 5))
async def test_dying_at_each_write_while_the_folder_goes(sorting: Bench, write: int, written: bool) -> None:
    """Goal: once, wherever it breaks off. Method: the folder goes after `intent`; die at each write; a consumer takes.

    The writes: the intent, the intent with the other name, done, forgotten.
    """
    (sorting.inbox / "known").mkdir()
    took: list[str] = []
    left = write

    def consume() -> None:
        for name in tree(sorting.inbox):
            (sorting.inbox / name).unlink()
            took.append(name)

    def dies(_delivery: str, _state: str) -> MftError | None:
        nonlocal left
        left -= 1
        return LeadershipLost("killed") if left == 0 else None

    def after(delivery: str, state: str) -> MftError | None:
        if (sorting.inbox / "known").exists():
            (sorting.inbox / "known").rmdir()
        return dies(delivery, state) if written else None

    sorting.journal.after = after
    if not written:
        sorting.journal.before = dies
    sorting.give("known/a")
    with pytest.raises(LeadershipLost):
        await sorting.run()
    consume()
    stand(sorting)
    sorting.journal.before = lambda _delivery, _state: None
    await sorting.run(8, sweep=True)
    consume()
    assert took == ["unsorted/known/a"] if (write, written) != (1, False) else ["known/a"]
    sorting.check_settled()


async def test_published_before_the_folder_went(sorting: Bench) -> None:
    """Goal: what was published is not sent to the fallback. Method: die before `done`; a consumer takes all away."""
    (sorting.inbox / "known").mkdir()
    sorting.give("known/a")
    sorting.journal.before = lambda _delivery, state: LeadershipLost("killed") if state == "done" else None
    with pytest.raises(LeadershipLost):
        await sorting.run()
    sorting.journal.before = lambda _delivery, _state: None
    assert tree(sorting.inbox) == {"known/a": b"content"}
    (sorting.inbox / "known" / "a").unlink()
    (sorting.inbox / "known").rmdir()
    await sorting.run(8, sweep=True)
    assert tree(sorting.inbox) == {}
    sorting.check_settled()


# ---- with other options


RULES: dict[OverwriteRule, list[str]] = {
    "overwrite": ["unsorted/known/a.csv"],
    "disable": ["unsorted/known/a.csv"],
    "fail": ["unsorted/known/a.csv"],
    "skip": ["unsorted/known/a.csv"],
    "timestamp-always": ["STAMPED", "unsorted/known/a.csv"],
    "timestamp-to-new-file": ["STAMPED", "unsorted/known/a.csv"],
    "timestamp-to-existing-file": ["STAMPED", "unsorted/known/a.csv"],
}


@pytest.mark.parametrize("goes_late", [False, True], ids=["missing", "goes"])
@pytest.mark.parametrize("rule", RULES)
async def test_overwrite_rules_hold_there(sorting: Bench, rule: OverwriteRule, goes_late: bool) -> None:
    """Goal: what stands in the fallback is treated as the rule says. Method: a file of that name there.

    The folder is missing from the start, or goes between `intent` and the rename.
    """
    change(sorting, overwrite_rule=rule)
    if goes_late:
        (sorting.inbox / "known").mkdir()
        tidies_at(sorting, "intent", "known")
    there = sorting.inbox / "unsorted" / "known" / "a.csv"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"THERE")
    sorting.give("known/a.csv")
    tally = await sorting.run()
    is_kept = rule in ("fail", "skip")
    assert tally.failed == (rule == "fail")
    names = [name if len(name) < 30 else "STAMPED" for name in tree(sorting.inbox)]
    assert names == RULES[rule]
    assert all(name.startswith("unsorted/known/a") for name in tree(sorting.inbox))
    assert (b"content" not in tree(sorting.inbox).values()) == is_kept
    assert (b"THERE" in tree(sorting.inbox).values()) == (rule not in ("overwrite", "disable"))
    assert sorting.temps() == []
    if rule == "fail":
        assert "exists at the destination" in reasons(sorting)[0]
        there.unlink()
        stand(sorting)
        await sorting.run(8, sweep=True)
        assert tree(sorting.inbox) == {"unsorted/known/a.csv": b"content"}
    sorting.check_settled()


@pytest.mark.parametrize("goes_late", [False, True], ids=["missing", "goes"])
async def test_two_that_become_one_name_there(sorting: Bench, goes_late: bool) -> None:
    """Goal: none of our own replaces another. Method: a rule that makes one name of many, all at one time."""
    rules = (NameRule(action="template", template="known/one.csv"),)
    change(sorting, names=rules, overwrite_rule="timestamp-to-new-file", parallel_files=8)
    if goes_late:
        (sorting.inbox / "known").mkdir()
        tidies_at(sorting, "intent", "known")
    contents = [f"content {number}".encode() for number in range(8)]
    for number, content in enumerate(contents):
        sorting.give(f"f{number}", content)
    assert (await sorting.run()).delivered == 8
    found = tree(sorting.inbox)
    assert sorted(found.values()) == contents
    assert all(name.startswith("unsorted/known/one") for name in found)
    sorting.check_settled()


async def test_a_time_in_the_name_stays_that_of_taking(sorting: Bench) -> None:
    """Goal: the name is the same for each attempt. Method: `timestamp-always`, and a death after `intent`."""
    change(sorting, overwrite_rule="timestamp-always")
    delivery = sorting.taken("new/a.csv")
    await fallen(sorting, "intent")
    name = stamped("unsorted/new/a.csv", int(delivery.rpartition("-")[2][:12], 16) / 1000)
    assert [record.target for record in sorting.journal.records.values()] == [name]
    await sorting.run(8, sweep=True)
    assert tree(sorting.inbox) == {name: b"content"}
    sorting.check_settled()


async def test_other_rules_move_nothing_out_of_it(sorting: Bench) -> None:
    """Goal: what is settled there stays there. Method: die after `intent`; rules change, and the name is taken."""
    change(sorting, overwrite_rule="timestamp-to-new-file")
    sorting.give("new/a.csv")
    await fallen(sorting, "intent")
    (sorting.inbox / "unsorted" / "new" / "a.csv").write_bytes(b"THERE")
    change(sorting, names=(NameRule(action="template", template="elsewhere/{name}"),))
    await sorting.run(8, sweep=True)
    first, second = tree(sorting.inbox).items()
    assert first[0].startswith("unsorted/new/a-")
    assert (first[1], second) == (b"content", ("unsorted/new/a.csv", b"THERE"))
    sorting.check_settled()


async def test_a_batch_some_of_whose_folders_are_missing(sorting: Bench) -> None:
    """Goal: all of it arrives, the marker last. Method: one folder is missing, one goes when all is prepared."""
    retry = RetrySpec(first_s=1e-6, most_s=1e-6)
    change(sorting, batch=BatchSpec(marker="*.done"), retry=retry)
    (sorting.inbox / "known").mkdir()
    for name in ("known/a", "new/a", "known/all.done"):
        sorting.give(name, name.encode())
    seen: list[list[str]] = []

    def after(_delivery: str, state: str) -> None:
        if state == "intent" and len(sorting.temps()) == 3 and (sorting.inbox / "known").exists():
            (sorting.inbox / "known").rmdir()
        if state == "done":
            seen.append(list(tree(sorting.inbox)))

    sorting.journal.after = after
    assert (await sorting.run()).delivered == 3
    everything = {f"unsorted/{name}": name.encode() for name in ("known/a", "known/all.done", "new/a")}
    assert tree(sorting.inbox) == everything
    assert ["unsorted/known/all.done" in names for names in seen] == [False, False, True]
    assert told(sorting, catalogue.BATCH_DELIVERED) == 1
    sorting.check_settled()


async def test_kept_sources_go_there_once(sorting: Bench) -> None:
    """Goal: the ledger holds for them too. Method: two passes, before and after the folder is made."""
    change(sorting, delete_source=False)
    sorting.give("new/a")
    assert (await sorting.run()).delivered == 1
    (sorting.inbox / "new").mkdir()
    assert (await sorting.run(8, sweep=True)).delivered == 0
    assert tree(sorting.inbox) == {"unsorted/new/a": b"content"}
