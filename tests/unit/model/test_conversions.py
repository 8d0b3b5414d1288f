"""What is said of rules of conversion that cannot be applied, before a config is used."""

from __future__ import annotations

from typing import Any

import pytest

from mft.model.check import judge
from mft.model.encodings import ENCODINGS, encoding_of
from tests.unit.model.samples import good


def found(*rules: dict[str, Any]) -> dict[str, str]:
    """Give a transfer these rules; return field → message of all problems."""
    document = good()
    document["transfers"]["out"]["conversions"] = list(rules)
    before = "transfers.out.conversions"
    return {problem.path.removeprefix(before): problem.message for problem in judge(document)[1].problems}


def test_what_can_be_applied() -> None:
    """Goal: nothing is said of what is right. Method: a rule of each kind, aliases of encodings among them."""
    rules: list[dict[str, Any]] = [
        {"match": "*.zip|*.gz"},
        {"match": "*.csv", "line_ends": "crlf"},
        {"match": "*.win", "encoding_from": "windows-1252", "encoding_to": "UTF8", "line_ends": "lf"},
        {"match": "m/host/i", "encoding_from": "utf-16", "encoding_to": "IBM273", "line_ends": "nel"},
        {"encoding_from": "latin-1", "encoding_to": "latin-1"},
    ]
    assert found(*rules) == {}


@pytest.mark.parametrize(
    ("rule", "field", "message"),
    [
        ({"encoding_from": "utf8x", "encoding_to": "cp037"}, "encoding_from", "with 'utf8x': expected a text encoding"),
        ({"encoding_from": "cp1252", "encoding_to": "utf-88"}, "encoding_to", "did you mean utf-8?"),
        ({"encoding_from": "utf-8", "encoding_to": "rot13"}, "encoding_to", "with 'rot13'"),
        ({"encoding_from": "utf-7", "encoding_to": "utf-8"}, "encoding_from", "with 'utf-7'"),
        ({"encoding_from": "iso-2022-jp", "encoding_to": "utf-8"}, "encoding_from", "with 'iso-2022-jp'"),
        ({"encoding_from": "a\0b", "encoding_to": "utf-8"}, "encoding_from", "expected a text encoding"),
        ({"encoding_from": "utf-8"}, "encoding_to", "give both encodings"),
        ({"encoding_to": "utf-8", "line_ends": "lf"}, "encoding_from", "give both encodings"),
        ({"line_ends": "nel"}, "line_ends", "EBCDIC only"),
        ({"encoding_from": "cp037", "encoding_to": "utf-8", "line_ends": "nel"}, "line_ends", "EBCDIC only"),
        ({"line_ends": "cr"}, "line_ends", "lf"),
        ({"match": "m/(/", "line_ends": "lf"}, "match", "not a regular expression"),
    ],
    ids=lambda value: "-".join(value.values()).replace("\0", "0") if isinstance(value, dict) else "",
)
def test_what_cannot_be_applied(rule: dict[str, Any], field: str, message: str) -> None:
    """Goal: each mistake is named, with its path and remedy. Method: one wrong thing, after a rule that is right."""
    problems = found({"match": "*.csv", "line_ends": "crlf"}, rule)
    assert list(problems) == [f"[1].{field}"]
    assert message in problems[f"[1].{field}"]


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Goal: one apply shows all. Method: several mistakes in two rules, of which no file comes to the second."""
    problems = found({"encoding_from": "x", "encoding_to": "y", "line_ends": "nel"}, {"encoding_to": "utf-8"})
    assert sorted(problems) == ["[0].encoding_from", "[0].encoding_to", "[1]", "[1].encoding_from"]
    assert "no file comes to this rule" in problems["[1]"]


def test_each_encoding_has_one_name() -> None:
    """Goal: what is listed is what Python calls it, so that any alias leads there. Method: look each up."""
    assert {encoding_of(encoding) for encoding in ENCODINGS} == ENCODINGS
    assert encoding_of("ISO_8859-15") == "iso8859-15"
    assert encoding_of("") == ""
