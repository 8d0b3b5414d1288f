"""Texts with placeholders, as name rules and commands have them: `{name}`, `{group.1}`; other braces are plain text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

_PLACEHOLDER = re.compile(r"\{([a-z]+(?:\.[a-z0-9]+)*)\}")
_GROUP = re.compile(r"group\.[1-9][0-9]?")

NAME_PLACEHOLDERS = frozenset(
    {"path", "folder", "name", "stem", "extension"}
    | {f"now.{part}" for part in ("date", "time", "timestamp", "year", "month", "day", "hour", "minute", "second")}
)
"""What a name rule's template may have, beside `{group.N}`."""

COMMAND_PLACEHOLDERS = frozenset(
    {"source.path", "source.name", "destination.path", "destination.name", "transfer", "delivery"}
)
"""What arguments of commands and steps may have."""

STEP_WORDS: Mapping[str, int] = {"mkdir": 1, "rm": 1, "rmdir": 1, "rename": 2}
"""Steps at a partner → how many paths follow."""


class Step(NamedTuple):
    """One step at a partner."""

    verb: str
    paths: tuple[str, ...]


def placeholders_of(text: str) -> list[str]:
    """List what stands in braces and can be a placeholder, in its order."""
    return _PLACEHOLDER.findall(text)


def unknown_placeholders(text: str, known: Set[str], *, groups: bool = False) -> Iterator[str]:
    """Yield the placeholders of a text that mean nothing."""
    for name in placeholders_of(text):
        if name not in known and not (groups and _GROUP.fullmatch(name)):
            yield name


def filled(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of placeholders.

    Raises:
        KeyError: a placeholder has no value.
    """
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)


def parse_step(text: str) -> Step:
    """Read one step at a partner; its placeholders stay.

    Raises:
        ValueError: it cannot be read; the message says why.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"cannot read {text!r}: {str(error).lower()}") from error
    if not words or words[0] not in STEP_WORDS:
        raise ValueError(f"expected one of mkdir PATH, rm PATH, rmdir PATH, rename OLD NEW, got {text!r}")
    verb, *paths = words
    if len(paths) != STEP_WORDS[verb] or not all(paths):
        expected = "two paths" if STEP_WORDS[verb] == 2 else "one path"
        raise ValueError(f"{verb} needs {expected}, got {len(paths)}; put one with spaces into quotes")
    return Step(verb, tuple(paths))
