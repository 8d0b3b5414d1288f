"""What is said of names, archives and commands that cannot be made, before a config is used."""

from __future__ import annotations

from typing import Any

import pytest

from mft.model.check import judge
from mft.model.placeholders import Step, parse_step
from tests.unit.model.samples import good


def found(**changes: Any) -> dict[str, str]:
    """Change the first transfer of a good document; return field → message of all problems."""
    document = good()
    [id, *_] = document["transfers"]
    document["transfers"][id].update(changes)
    before = f"transfers.{id}."
    return {problem.path.removeprefix(before): problem.message for problem in judge(document)[1].problems}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"action": "template"}, "needs a template"),
        ({"action": "fixed-path"}, "needs a template"),
        ({"action": "replace-separator"}, "needs a template"),
        ({"action": "lowercase", "template": "x"}, "uses no template"),
        ({"action": "template", "template": "{stm}"}, "did you mean stem?"),
        ({"action": "template", "template": "{now.hours}"}, "no placeholder {now.hours}"),
        ({"action": "template", "template": "{group.0}"}, "no placeholder {group.0}"),
        ({"action": "fixed-path", "template": "../up"}, "`..`"),
        ({"action": "fixed-path", "template": "/abs"}, "under the destination folder"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value.values()),
)
def test_name_rules(rule: dict[str, str], message: str) -> None:
    """Goal: each rule that cannot work is named with what to do. Method: one wrong rule after a right one."""
    problems = found(names=[{"action": "template", "template": "{group.1}/{now.date}-{stem}{extension}"}, rule])
    assert list(problems) == ["names[1].template"]
    assert message in problems["names[1].template"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temporary_prefix", "tmp/", "slash"),
        ("temporary_suffix", "x" * 101, "at most 100"),
    ],
)
def test_temp_names(field: str, value: str, message: str) -> None:
    """Goal: a temp name is a name. Method: parts that make none."""
    assert message in found(**{field: value})[field]


@pytest.mark.parametrize(
    ("archive", "field", "message"),
    [
        ({}, "archive", "else nothing is archived"),
        ({"path": "done", "location": "nowhere"}, "archive.location", "no location 'nowhere'"),
        ({"path": "../done"}, "archive.path", "`..`"),
        ({"path": "{source}/done"}, "archive.path", "not below source_path"),
        ({"failure_path": "{source}"}, "archive.failure_path", "not below source_path"),
        ({"path": "done", "name": "exact", "retention_days": 3}, "archive.retention_days", "`timestamp`"),
    ],
    ids=["empty", "dangling", "up", "below", "same", "exact"],
)
def test_archives(archive: dict[str, Any], field: str, message: str) -> None:
    """Goal: no archive that cannot work, or whose files would be sent again. Method: one wrong thing each."""
    [transfer, *_] = good()["transfers"].values()
    filled = {
        key: value.replace("{source}", transfer["source_path"]) if isinstance(value, str) else value
        for key, value in archive.items()
    }
    problems = found(archive=filled, recursive=True)
    assert list(problems) == [field]
    assert message in problems[field]


def test_an_archive_that_is_not_looked_into() -> None:
    """Goal: no false alarm. Method: a hidden folder below, and any folder where nothing is looked into."""
    [transfer, *_] = good()["transfers"].values()
    source = transfer["source_path"]
    assert found(archive={"path": f"{source}/.done"}, recursive=True) == {}
    assert found(archive={"path": f"{source}/done"}) == {}
    assert found(archive={"path": f"{source}-done"}, recursive=True) == {}


@pytest.mark.parametrize(
    ("commands", "field", "message"),
    [
        ({"before": ["", "x"]}, "commands.before[0]", "expected a program"),
        ({"before": ["/bin/true", "{source}"]}, "commands.before[1]", "no placeholder {source}"),
        ({"remote_after": ["mkdir a", "delete b"]}, "commands.remote_after[1]", "expected one of mkdir PATH"),
        ({"remote_after": ["rename a"]}, "commands.remote_after[0]", "rename needs two paths"),
        ({"remote_before": ["rm 'a"]}, "commands.remote_before[0]", "no closing quotation"),
        ({"remote_before": ["rm {source.nam}"]}, "commands.remote_before[0]", "did you mean source.name?"),
        ({"remote_after_failure": ["rm {path}"]}, "commands.remote_after_failure[0]", "no placeholder {path}"),
        ({"remote_after_failure": ["put a b"]}, "commands.remote_after_failure[0]", "expected one of mkdir PATH"),
    ],
    ids=["no program", "placeholder", "verb", "paths", "quote", "near", "after failure", "after failure: verb"],
)
def test_commands(commands: dict[str, Any], field: str, message: str) -> None:
    """Goal: each command that cannot be made is named. Method: one wrong thing each."""
    problems = found(commands=commands)
    assert list(problems) == [field]
    assert message in problems[field]


def test_placeholders_of_commands_are_no_variables() -> None:
    """Goal: what a command may hold is not taken for a variable of a node. Method: each field with a placeholder."""
    programs = ("before", "after_success", "after_failure")
    steps = ("remote_before", "remote_after", "remote_after_failure")
    right = {field: ["/bin/true", "{source.name}"] for field in programs}
    assert found(commands=right | {field: ["mkdir '{destination.path}'"] for field in steps}) == {}


def test_a_step_is_read_as_by_a_shell() -> None:
    """Goal: spaces in paths are possible, and a placeholder stays one word. Method: quotes of both kinds."""
    assert parse_step("rename 'a b' \"c {source.name}\"") == Step("rename", ("a b", "c {source.name}"))


@pytest.mark.parametrize(
    ("path", "changes", "is_wrong"),
    [
        ("/srv/./out/", {}, True),
        ("/srv/out", {"names": [{"action": "uppercase"}]}, False),
        ("/srv/out", {"names": [{"action": "uppercase"}], "recursive": True}, True),
        ("/srv/out/sent", {}, False),
        ("/srv/out/sent", {"recursive": True}, True),
        ("/srv/out/.sent", {"recursive": True}, False),
    ],
)
def test_no_transfer_finds_what_it_has_written(path: str, changes: dict[str, Any], is_wrong: bool) -> None:
    """Goal: no file goes round for ever, however folders are named. Method: a second location of the same storage."""
    document = good()
    document["locations"]["other"] = {"type": "local", "root": "/srv"}
    [transfer, *_] = document["transfers"].values()
    source_root = document["locations"][transfer["source_location"]].get("root", "/")
    assert (source_root, transfer["source_path"]) == ("/", "/srv/out")
    relative = path.removeprefix("/srv/")
    transfer |= {"destination_location": "other", "destination_path": relative, **changes}
    found_there = [problem.path.rpartition(".")[2] for problem in judge(document)[1].problems]
    assert found_there == (["destination_path"] if is_wrong else [])
    transfer |= {"destination_path": "in", "archive": {"location": "other", "path": relative}}
    found_there = [problem.path.rpartition(".")[2] for problem in judge(document)[1].problems]
    assert found_there == (["path"] if is_wrong or relative == "out" else [])


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        ("../up", {}, "`..`"),
        ("/srv/unsorted", {}, "below destination_path"),
        ("a//b", {}, "single slashes"),
        ("a/", {}, "single slashes"),
        ("./a", {}, "single slashes"),
        (".mft/a", {}, "beginning with .mft"),
        ("unsorted", {"recursive": False}, "recursive = true or rules"),
        ("out", {"recursive": False, "names": [{"action": "lowercase"}]}, "would be sent again"),
        ("out/deep", {}, "would be sent again"),
    ],
)
def test_fallback_folders(path: str, changes: dict[str, Any], message: str) -> None:
    """Goal: a folder that can be of no use is refused with what to do. Method: one wrong thing each."""
    [transfer, *_] = good()["transfers"].values()
    assert transfer["source_path"] == "/srv/out"
    same = {"destination_location": transfer["source_location"], "destination_path": "/srv"}
    problems = found(**(same | {"recursive": True, "destination_fallback_path": path} | changes))
    assert message in problems["destination_fallback_path"]
    assert found(**(same | {"recursive": True, "destination_fallback_path": "unsorted"})) == {}
