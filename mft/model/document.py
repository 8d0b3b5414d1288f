"""The author's text: TOML or JSON in, a plain table out, and back to TOML for showing.

What a TOML or JSON parser says of a mistake becomes one `Problem` at `line L, column C`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from mft.errors import Invalid, Problem

DOCUMENT_BYTES_MAX = 128 * 1024 * 1024
"""Four times what 100,000 accounts with keys need; bounds what one request can make the controller parse."""

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|(?P<end>end of document))\)\Z")
_ESCAPES: Mapping[str, str] = {
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
    '"': '\\"',
    "\\": "\\\\",
}
_UNSAFE = re.compile(r'[\x00-\x1f\x7f"\\]')


def read(text: str | bytes) -> dict[str, Any]:
    """Parse an author's document: JSON if it begins with `{`, else TOML.

    Raises `Invalid` with one problem that names line and column.
    """
    if len(text) > DOCUMENT_BYTES_MAX:
        raise _invalid("", f"the document is larger than {DOCUMENT_BYTES_MAX} bytes")
    if isinstance(text, bytes):
        text = _text_of(text)
    text = text.removeprefix("\ufeff")
    try:
        return _read_json(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise _invalid(f"line {error.lineno}, column {error.colno}", f"not valid JSON: {error.msg}") from error
    except tomllib.TOMLDecodeError as error:
        message, place = str(error), ""
        if found := _PLACE.search(message):
            message = message[: found.start()]
            place = "end of document" if found["end"] else f"line {found['line']}, column {found['column']}"
        raise _invalid(place, f"not valid TOML: {message}") from error
    except RecursionError as error:
        raise _invalid("", "tables or lists are nested too deeply") from error


def to_toml(table: Mapping[str, Any]) -> str:
    """Write a table as TOML that `read` gives back equal: sections by family and id, in the order given."""
    return "\n".join(_sections(table, ())).strip("\n") + "\n"


def path_of(*parts: str | int) -> str:
    """Join the parts as an author writes them: `accounts."a.b".keys[0]`."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + _key(part)
    return path


def _text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _invalid(f"line {line}", "not UTF-8 text") from error


def _read_json(text: str) -> dict[str, Any]:
    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                raise _invalid(path_of(key), "given twice in the same table")
            made[key] = value
        return made

    def constant(name: str) -> Any:
        raise _invalid("", f"{name} is no number that JSON knows")

    document = json.loads(text, object_pairs_hook=table, parse_constant=constant)
    assert isinstance(document, dict), "a text that begins with a brace is an object"
    return document


def _invalid(place: str, message: str) -> Invalid:
    return Invalid("the document cannot be read", (Problem(place, message),), code="MFT-CONFIG-1001")


def _sections(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    leaves = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if path and (leaves or not table):
        yield f"\n[{path_of(*path)}]"
    for key, value in leaves.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _sections(value, (*path, key))


def _key(key: str) -> str:
    return key if _BARE.match(key) else _text(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case int() | float():
            return repr(value)
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case Mapping():
            return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a document")


def _text(value: str) -> str:
    return '"' + _UNSAFE.sub(lambda found: _ESCAPES.get(found[0], f"\\u{ord(found[0]):04x}"), value) + '"'
