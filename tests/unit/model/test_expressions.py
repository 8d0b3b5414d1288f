"""The expressions that say which files are meant."""

from __future__ import annotations

import fnmatch
import re
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mft.model.check import check
from mft.model.config import Config
from mft.model.expressions import compile_expression
from mft.model.locations import LocalLocationSpec
from mft.model.transfer_parts import BatchSpec, NameRule
from mft.model.transfers import TransferSpec

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
    ],
)
def test_means_these_files(expression: str, path: str, groups: tuple[str, ...] | None) -> None:
    """Goal: each form means what the manual says. Method: examples, of which the groups are compared as well."""
    assert compile_expression(expression).groups(path) == groups
    assert compile_expression(expression).matches(path) is (groups is not None)


@given(glob=GLOBS.map("".join), folder=FOLDERS, name=NAMES)
def test_a_glob_is_that_of_the_shell(glob: str, folder: str, name: str) -> None:
    """Goal: globs without a slash are the usual ones, on the name. Method: compare with the standard library's."""
    if "**" in glob:
        glob = re.sub(r"\*+", "*", glob)
    path = f"{folder}/{name}" if folder else name
    assert compile_expression(glob).matches(path) is fnmatch.fnmatchcase(name, glob)


@given(glob=GLOBS.map("".join), name=NAMES)
def test_groups_put_in_place_of_the_wildcards_give_the_name(glob: str, name: str) -> None:
    """Goal: groups are what the wildcards stand for. Method: write them in their places and get the name."""
    glob = re.sub(r"\*+", "*", glob)
    groups = compile_expression(glob).groups(name)
    if groups is not None:
        left = iter(groups)
        assert re.sub(r"\*|\?|\[!?\]?[^\]]*\]", lambda _: next(left), glob) == name
        assert next(left, None) is None


@given(glob=GLOBS.map("".join), folder=FOLDERS, name=NAMES)
def test_an_exclamation_mark_turns_it_around(glob: str, folder: str, name: str) -> None:
    """Goal: `!` and `e` mean exactly the other files. Method: both forms on one path."""
    path = f"{folder}/{name}" if folder else name
    assert compile_expression(f"!{glob}").matches(path) is not compile_expression(glob).matches(path)
    literal = re.escape(name)
    assert compile_expression(f"m/{literal}/").matches(path)
    assert not compile_expression(f"e/{literal}/").matches(path)


@given(text=st.text("*?[]!|/me(a+)\\i", max_size=20), path=NAMES)
def test_any_text_is_read_or_refused_in_words(text: str, path: str) -> None:
    """Goal: no expression breaks the program. Method: random ones compile and match, or raise just that."""
    with suppress(ValueError):
        compile_expression(text).matches(path)


def test_no_name_makes_a_glob_slow() -> None:
    """Goal: a producer's names cannot stop a worker. Method: the usual trap for backtracking."""
    began = time.monotonic()
    assert not compile_expression("*a" * 15 + "*b").matches("a" * 250)
    assert time.monotonic() - began < 5


def test_mistakes_are_found_when_a_config_is_applied() -> None:
    """Goal: a mistake is refused with its place. Method: a mistake in each field that can have one."""
    transfer = TransferSpec(
        source_location="here",
        source_path="in",
        destination_location="here",
        destination_path="out",
        source_filter="m/(/",
        names=(NameRule(action="lowercase"), NameRule(match="[", action="lowercase")),
        batch=BatchSpec(marker="*.done|"),
        source_age_min_s=60,
        source_age_max_s=60,
    )
    config = Config(locations={"here": LocalLocationSpec(root="/tmp")}, transfers={"daily": transfer})
    paths = [problem.path for problem in check(config).problems]
    assert paths == [
        "transfers.daily.source_filter",
        "transfers.daily.names[1].match",
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
