"""The expressions that say which files are meant."""

from __future__ import annotations

import fnmatch
import re
import time
from contextlib import suppress
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mft.model.check import check
from mft.model.config import Config
from mft.model.dates import Moment
from mft.model.expressions import compile_expression
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import BatchSpec, NameRule
from mft.model.transfers import TransferSpec

NOW = Moment(1_795_910_400.0, UTC)
"""2026-11-29, a Sunday, just at its beginning."""
NAMES = st.text("ab.[]!*?-\n", min_size=1, max_size=12)
FOLDERS = st.lists(st.text("ab.", min_size=1, max_size=3), max_size=3).map("/".join)
GLOBS = st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[!a]", "[]a]", "-"]), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("expression", "path", "groups"),
    [
        ("*", "a.csv", ("a.csv",)),
        ("*.csv", "in/a.csv", ("a",)),
        ("*.csv|*.txt", "b.txt", ("b",)),
        ("*.csv", "A.CSV", None),
        ("in/*.csv", "in/a.csv", ("a",)),
        ("in/*.csv", "in/deep/a.csv", None),
        ("in/*.csv", "a.csv", None),
        ("**/*.csv", "a.csv", ("", "a")),
        ("**/a*b", "a1/a2/axb", ("a1/a2/", "x")),
        ("in/**", "in/deep/a.csv", ("deep/a.csv",)),
        ("in/*.csv|*.txt", "x/a.txt", ("a",)),
        ("a-*-?[0-9]", "a-b-c-d1", ("b-c", "d", "1")),
        ("!*.tmp|*.bak", "a.csv", ()),
        ("!*.tmp|*.bak", "a.bak", None),
        ("!in/*", "in/a", None),
        ("!in/*", "out/in", ()),
        ("m/(b+)/", "in/abbc", ("bb",)),
        ("m/^in/x/", "in/x1", ()),
        ("m/B(x)?/i", "abc", ("",)),
        ("m/B/", "abc", None),
        ("e/draft/", "in/final.csv", ()),
        ("e/draft/i", "Draft/final.csv", None),
        ("m/sub", "m/sub", ()),
        ("[[]x", "[x", ("[",)),
        ("g/*.csv|*.txt/", "b.txt", ("b",)),
        ("g/*.csv/", "A.CSV", None),
        ("g/*.csv|*.txt/i", "in/B.TXT", ("B",)),
        ("g/In/*.CSV/i", "iN/a.csv", ("a",)),
        ("g/In/*.CSV/i", "other/a.csv", None),
        ("g/!*.tmp|*.bak/i", "A.BAK", None),
        ("g/!*.tmp|*.bak/i", "A.CSV", ()),
        ("g/[!a-c]*/i", "B", None),
        ("g/*/x", "g/a/x", ("a",)),
        ("t/*-{date}.csv/", "a-20261129.csv", ("a",)),
        ("t/*-{date}.csv/", "a-20261128.csv", None),
        ("t/*-{date}.csv/-1d", "a-20261128.csv", ("a",)),
        ("t/*-{date}.csv/+1d", "a-20261130.csv", ("a",)),
        ("t/{year}/{month}/*.csv|*-{date}/", "2026/11/a.csv", ("a",)),
        ("t/{year}/{month}/*.csv|*-{date}/", "x/a-20261129", ("a",)),
        ("t/{month.name}*/", "NOV-a", None),
        ("t/{month.name}*/i", "NOV-a", ("-a",)),
        ("t/{month.name}*/i-1m", "OCT-a", ("-a",)),
        ("t/!*{date}*/", "a-20261129", None),
        ("t/!*{date}*/", "a-20261128", ()),
        ("t/!*{date}*/-2d..0d", "a-20261127", None),
        ("t/!*{date}*/-2d..0d", "a-20261126", ()),
        ("t/{date}{no one}/", "20261129{no one}", ()),
        ("t/{date}-[0-9]/-1d..0d", "20261128-7", ("7",)),
        ("t/*.csv", "t/a.csv", ("a",)),
        ("t/*/a", "t/x/a", ("x",)),
    ],
)
def test_means_these_files(expression: str, path: str, groups: tuple[str, ...] | None) -> None:
    """Goal: each form means what the manual says. Method: examples, of which the groups are compared as well."""
    assert compile_expression(expression).groups(path, NOW) == groups
    assert compile_expression(expression).matches(path, NOW) is (groups is not None)


@given(glob=GLOBS.map("".join), folder=FOLDERS, name=NAMES)
def test_a_glob_is_that_of_the_shell(glob: str, folder: str, name: str) -> None:
    """Goal: globs without a slash are the usual ones, on the name. Method: compare with the standard library's."""
    if "**" in glob:
        glob = re.sub(r"\*+", "*", glob)
    path = f"{folder}/{name}" if folder else name
    assert compile_expression(glob).matches(path, NOW) is fnmatch.fnmatchcase(name, glob)


@given(glob=GLOBS.map("".join), folder=FOLDERS, name=NAMES)
def test_the_spelled_out_glob_is_the_plain_one(glob: str, folder: str, name: str) -> None:
    """Goal: `g/…/` changes nothing, and its `i` nothing but the case. Method: both forms, on a name in capitals too."""
    path = f"{folder}/{name}" if folder else name
    plain = compile_expression(glob).groups(path, NOW)
    assert compile_expression(f"g/{glob}/").groups(path, NOW) == plain
    assert (compile_expression(f"g/{glob}/i").groups(path.upper(), NOW) is None) is (plain is None)


@given(glob=GLOBS.map("".join), name=NAMES)
def test_groups_put_in_place_of_the_wildcards_give_the_name(glob: str, name: str) -> None:
    """Goal: groups are what the wildcards stand for. Method: write them in their places and get the name."""
    glob = re.sub(r"\*+", "*", glob)
    groups = compile_expression(glob).groups(name, NOW)
    if groups is not None:
        left = iter(groups)
        assert re.sub(r"\*|\?|\[!?\]?[^\]]*\]", lambda _: next(left), glob) == name
        assert next(left, None) is None


@given(glob=GLOBS.map("".join), folder=FOLDERS, name=NAMES)
def test_an_exclamation_mark_turns_it_around(glob: str, folder: str, name: str) -> None:
    """Goal: `!` and `e` mean exactly the other files. Method: both forms on one path."""
    path = f"{folder}/{name}" if folder else name
    assert compile_expression(f"!{glob}").matches(path, NOW) is not compile_expression(glob).matches(path, NOW)
    literal = re.escape(name)
    assert compile_expression(f"m/{literal}/").matches(path, NOW)
    assert not compile_expression(f"e/{literal}/").matches(path, NOW)


@given(text=st.text("*?[]!|/megt(a+)\\i", max_size=20) | st.text("*!|/t{date}-+1d.imh0", max_size=20), path=NAMES)
def test_any_text_is_read_or_refused_in_words(text: str, path: str) -> None:
    """Goal: no expression breaks the program. Method: random ones compile and match, or raise just that."""
    with suppress(ValueError):
        compile_expression(text).matches(path, NOW)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("g//", "expected a glob"),
        ("g/a||b/i", "expected a glob"),
        ("g/[/i", "has no ]"),
        ("t/[{date}/", "has no ]"),
        ("t/a|/-1d", "expected a glob"),
        ("t/*.csv/", "names no date"),
        ("t/*.csv/-1d", "without one write `g/*.csv/`"),
        ("t/{yaer}-{date}/", "no placeholder {yaer}; did you mean year?"),
        ("t/{date}{one}{two}/", "{one}, no {two}"),
        ("t/{date}/-1", "expected nothing after the last slash, or an offset"),
        ("t/{date}/1d", "expected nothing after the last slash, or an offset"),
        ("t/{date}/-1di", "an i before it"),
        ("t/{date}/-1w", "-1m (months)"),
        ("t/{date}/-1d..0h", "in one unit"),
        ("t/{date}/0d..-1d", "ends before it begins"),
        ("t/{date}/-100d..0d", "100 at most"),
        ("t/{date}.csv", "between t/ and a last slash"),
        ("report-{date}.csv", "as in `t/report-{date}*.csv/`"),
        ("g/report-{date}.csv/", "as in `t/report-{date}*.csv/`"),
        ("!t/{date}*/-1d", "`t/!{date}*/`"),
        ("!g/*.tmp/i", "`g/!*.tmp/`"),
        ("!m/draft/", "`e/draft/`"),
        ("!e/draft/i", "`m/draft/`"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(expression: str, words: str) -> None:
    """Goal: what cannot be meant is refused, and says what to write. Method: one mistake each."""
    with pytest.raises(ValueError, match=re.escape(words)):
        compile_expression(expression)


def test_no_name_makes_a_glob_slow() -> None:
    """Goal: a producer's names cannot stop a worker. Method: the usual trap for backtracking."""
    began = time.monotonic()
    assert not compile_expression("*a" * 15 + "*b").matches("a" * 250, NOW)
    assert time.monotonic() - began < 5


def test_mistakes_are_found_when_a_config_is_applied() -> None:
    """Goal: a mistake is refused with its place. Method: a mistake in each field that can have one."""
    transfer = TransferSpec(
        source_location="here",
        source_path="in",
        destination_location="here",
        destination_path="out",
        source_filter="m/(/",
        names=(
            NameRule(action="lowercase"),
            NameRule(match="[", action="lowercase"),
            NameRule(match="t/{dat}{date}/", action="lowercase"),
        ),
        batch=BatchSpec(marker="*.done|"),
        source_age_min_s=60,
        source_age_max_s=60,
    )
    config = Config(locations={"here": LocalLocationSpec(root="/tmp")}, transfers={"daily": transfer})
    paths = [problem.path for problem in check(config).problems]
    assert paths == [
        "transfers.daily.source_filter",
        "transfers.daily.names[1].match",
        "transfers.daily.names[2].match",
        "transfers.daily.batch.marker",
        "transfers.daily.source_age_max_s",
    ]


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"recursive": True, "destination_path": "in/sent"}, ["destination_path"]),
        ({"recursive": True, "destination_path": "in"}, ["destination_path"]),
        ({"recursive": True, "destination_path": "in/.sent"}, []),
        ({"recursive": True, "destination_path": "input"}, []),
        ({"recursive": False, "destination_path": "in/sent"}, []),
        ({"delete_empty_folders_s": 60.0}, ["delete_empty_folders_s"]),
    ],
)
def test_a_transfer_does_not_find_what_it_has_delivered(changes: dict[str, Any], paths: list[str]) -> None:
    """Goal: no file goes round in circles. Method: destinations inside and outside of the source."""
    fields = {"source_path": "in", "destination_path": "out", "source_location": "here", "destination_location": "here"}
    config = Config(
        locations={"here": LocalLocationSpec(root="/tmp")}, transfers={"daily": TransferSpec(**(fields | changes))}
    )
    assert [problem.path for problem in check(config).problems] == [f"transfers.daily.{path}" for path in paths]
