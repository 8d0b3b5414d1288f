"""What must hold of the rules by which content is converted: known encodings, in pairs, line ends that they have."""

from __future__ import annotations

from collections.abc import Iterator

from mft.errors import Problem
from mft.model.config import Config
from mft.model.decode import did_you_mean
from mft.model.document import path_of
from mft.model.encodings import ENCODINGS, encoding_of, is_ebcdic
from mft.model.transfer_parts import ConversionRule

_ALL = frozenset({"*", "**", "**/*"})
"""Expressions that mean every file."""


def check_conversions(config: Config) -> Iterator[Problem]:
    """Say which rules cannot be applied, and which no file ever comes to."""
    for id, transfer in config.transfers.items():
        takes_all = False
        for n, rule in enumerate(transfer.conversions):
            place = ("transfers", id, "conversions", n)
            yield from _encodings(rule, *place)
            if problem := _line_ends_problem(rule):
                yield Problem(path_of(*place, "line_ends"), problem)
            if takes_all:
                message = "no file comes to this rule, because one before it means them all: put it first, or remove it"
                yield Problem(path_of(*place), message)
            takes_all = takes_all or rule.match in _ALL


def _encodings(rule: ConversionRule, *place: str | int) -> Iterator[Problem]:
    pair = {"encoding_from": rule.encoding_from, "encoding_to": rule.encoding_to}
    for field, name in pair.items():
        if name and not encoding_of(name):
            expected = f"expected a text encoding such as utf-8, cp1252 or cp037{did_you_mean(name, sorted(ENCODINGS))}"
            yield Problem(path_of(*place, field), f"content cannot be converted with {name!r}: {expected}")
        elif not name and any(pair.values()):
            message = "give both encodings, the same one twice to have only line ends changed or content checked"
            yield Problem(path_of(*place, field), message)


def _line_ends_problem(rule: ConversionRule) -> str:
    if rule.line_ends != "nel":
        return ""
    encoding = encoding_of(rule.encoding_to)
    if rule.encoding_to and (not encoding or is_ebcdic(encoding)):  # That there is no such encoding is told already.
        return ""
    return "NEL ends lines in EBCDIC only: give an encoding_to such as cp037, or the line ends lf or crlf"
