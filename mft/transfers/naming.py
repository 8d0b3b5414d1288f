"""What a file is called at its destination: the rules of a transfer, and names that hold a time. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from mft.errors import Invalid
from mft.model.dates import Moment
from mft.model.delivery import TAKEN_FOLDER
from mft.model.expressions import compile_expression
from mft.model.placeholders import filled
from mft.model.transfer_parts import NameRule
from mft.transfers.remotes.base import shown

_PART_BYTES_MAX = 255
"""Bytes of one name on every file system in use."""
_STAMPED = re.compile(r"-[0-9]{8}T[0-9]{6}\.[0-9]{3}Z(?:-[0-9a-f]{6})?(\.[^./]*)?$")
_STAMP = re.compile(r"-([0-9]{8}T[0-9]{6})\.[0-9]{3}Z-[0-9a-f]{6}(?:\.[^.]*)?$")


def target_of(rules: Sequence[NameRule], path: str, taken: Moment) -> str:
    """Give the path under the destination folder for the file at `path` under the source folder.

    `taken` is when it was taken, for dates: one in `match` is by the clocks of its zone, one in a template is in UTC.

    Raises:
        Invalid: the rules make a path that cannot be used.
    """
    target = path
    for rule in rules:
        groups = compile_expression(rule.match).groups(target, taken)
        if groups is not None:
            target = _applied(rule, target, groups, taken.at)
    if problem := _problem(target):
        made = f"its name rules make {shown(target)!r} of {shown(path)}" if target != path else f"it is named {path!r}"
        raise Invalid(f"{made}, which cannot be used: {problem}")
    return target


def stamped(path: str, at: float, mark: str = "") -> str:
    """Put a time, in UTC, into a name, before its extension: `a.csv` → `a-20261122T213618.123Z.csv`."""
    folder, slash, name = path.rpartition("/")
    stem, extension = _divided(name)
    moment = datetime.fromtimestamp(at, UTC)
    time = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"
    end = f"-{time}{'-' if mark else ''}{mark}{extension}"
    room = _PART_BYTES_MAX - len(end.encode(errors="surrogateescape"))
    encoded = stem.encode(errors="surrogateescape")
    if 0 < room < len(encoded):
        stem = encoded[:room].decode(errors="ignore")  # What is added must not make a name too long.
    return f"{folder}{slash}{stem}{end}"


def unstamped(path: str) -> str:
    """Take out of a name what `stamped` has put into it; another name stays as it is."""
    return _STAMPED.sub(r"\1", path)


def stamp_of(name: str) -> float | None:
    """Read the time, in seconds since 1970, that `stamped` has put into a name together with a mark; None: no such."""
    found = _STAMP.search(name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _applied(rule: NameRule, path: str, groups: tuple[str, ...], at: float) -> str:
    match rule.action:
        case "template":
            return _from_template(rule.template, path, groups, at)
        case "only-filename":
            return path.rpartition("/")[2]
        case "replace-separator":
            return path.replace("/", rule.template)
        case "lowercase":
            return path.lower()
        case "uppercase":
            return path.upper()
        case "fixed-path":
            return rule.template


def _from_template(template: str, path: str, groups: tuple[str, ...], at: float) -> str:
    folder, _, name = path.rpartition("/")
    stem, extension = _divided(name)
    moment = datetime.fromtimestamp(at, UTC)
    values = {
        "path": path,
        "folder": folder,
        "name": name,
        "stem": stem,
        "extension": extension,
        "now.date": f"{moment:%Y%m%d}",
        "now.time": f"{moment:%H%M%S}",
        "now.timestamp": str(int(at)),
        "now.year": f"{moment:%Y}",
        "now.month": f"{moment:%m}",
        "now.day": f"{moment:%d}",
        "now.hour": f"{moment:%H}",
        "now.minute": f"{moment:%M}",
        "now.second": f"{moment:%S}",
    }
    values.update({f"group.{number}": group for number, group in enumerate(groups, 1)})
    if not folder:
        # A file directly in the source folder has none, and the slash after it would make the path absolute.
        template = template.replace("{folder}/", "")
    try:
        return filled(template, values)
    except KeyError as error:
        raise Invalid(
            f"a name rule asks for {{{error.args[0]}}}, but what it matches has {len(groups)} groups"
        ) from None


def _divided(name: str) -> tuple[str, str]:
    """Divide a name before the dot of its extension; a dot at the beginning makes none."""
    dot = name.rfind(".")
    return (name[:dot], name[dot:]) if dot > 0 else (name, "")


def _problem(target: str) -> str:
    """Say why a path is of no use at a destination, empty if it is. A partner may have named the source as well."""
    if not target:
        return "it is empty"
    if "\0" in target:
        return "it has a null character"
    if target.startswith("/"):
        return "it is absolute, not under the destination folder"
    return next((problem for part in target.split("/") if (problem := _part_problem(part))), "")


def _part_problem(part: str) -> str:
    if part in {"", ".", ".."}:
        return f"it has {part!r} between its slashes" if part else "it has nothing between two slashes or at its end"
    if part.startswith(TAKEN_FOLDER):
        return f"names that begin with {TAKEN_FOLDER} are for the program itself"
    if len(part.encode(errors="surrogateescape")) > _PART_BYTES_MAX:
        return f"a name has more than {_PART_BYTES_MAX} bytes"
    return ""
