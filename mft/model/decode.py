"""The author's table → `Config`, strictly, with every problem at once and each under the path that the author wrote.

msgspec does the work where all is right. Where it is not, the same types are walked slowly to say everything that is
wrong, not only the first thing. No message repeats the value of a secret.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from mft.errors import Invalid, Problem
from mft.model.config import FAMILIES, Config
from mft.model.document import path_of
from mft.model.scope import WORDS
from mft.model.server import ServerSpec
from mft.model.spec import Spec

ID_CHARACTERS_MAX = 200
Path = tuple[str | int, ...]
Note = Callable[[Path, str], None]
"""Takes down one problem."""


def decode(document: Mapping[str, Any]) -> Config:
    """Make a `Config` of a parsed document. Raises `Invalid` with everything that is wrong in it."""
    problems: list[Problem] = []
    config = decode_leniently(document, problems)
    if problems:
        raise invalid(problems)
    return config


def decode_leniently(document: Mapping[str, Any], problems: list[Problem]) -> Config:
    """Make a `Config` of what is right in the document and add to `problems` what is not.

    So that what is wrong between the components can be said in the same go as what is wrong within them.
    """

    def note(path: Path, message: str) -> None:
        problems.append(Problem(path_of(*path), message))

    families: dict[str, Any] = {}
    for family, components in document.items():
        if family == "server":
            if (server := _component(ServerSpec, components, ("server",), note)) is not None:
                families["server"] = server
        elif family not in FAMILIES:
            note((family,), f"there is no such family{did_you_mean(family, [*FAMILIES, 'server'])}")
        elif not isinstance(components, Mapping):
            note((family,), f"expected tables [{family}.ID], got {_seen(components)}")
        else:
            families[family.replace("-", "_")] = _family(family, components, note)
    return Config(**families)


def decode_component(family: str, id: str, value: Any, at: Path | None = None) -> Spec:
    """Make one component's spec; `at` replaces its path in problems. Raises `Invalid` with all of them."""
    problems: list[Problem] = []
    spec = _component(
        ServerSpec if family == "server" else FAMILIES[family],
        value,
        at or (family, id),
        lambda path, message: problems.append(Problem(path_of(*path), message)),
    )
    if problems or spec is None:
        raise invalid(problems)
    decoded: Spec = spec
    return decoded


def encode(config: Config) -> dict[str, Any]:
    """Make the author's table of a config: families, ids and fields as written, what is default left out."""
    # Through JSON, so that lists are lists, as a parsed document has them.
    table: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    return table


def invalid(problems: Iterable[Problem]) -> Invalid:
    """Make the one error that carries all problems of a config."""
    found = tuple(problems)
    many = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    return Invalid(f"the config has {many}", found, code="MFT-CONFIG-1002")


def id_problem(family: str, id: str) -> str:
    """Say what is wrong with a component's id; empty if nothing is."""
    if not id or "/" in id or not id.isprintable() or len(id) > ID_CHARACTERS_MAX:
        return f"expected an id of 1 to {ID_CHARACTERS_MAX} printable characters without a slash"
    if family == "nodes" and id in WORDS:
        return f'no node can have this name: "{id}" is a word of run_on'
    return ""


def _family(family: str, components: Mapping[str, Any], note: Note) -> dict[str, Spec]:
    decoded = {}
    for id, value in components.items():
        if problem := id_problem(family, id):
            note((family, id), problem)
        if (spec := _component(FAMILIES[family], value, (family, id), note)) is not None:
            decoded[id] = spec
    return decoded


def _component(kind: Any, value: Any, path: Path, note: Note) -> Any:
    """Return the spec, or None after every problem was noted."""
    info = _type_info(kind)
    try:
        if not _lacks_tag(info, value):
            return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        said = _walk(info, value, path, note)
        if not said:
            note(path, f"not valid: {error}")
        return None
    _walk(info, value, path, note)
    return None


@functools.cache
def _type_info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _lacks_tag(info: inspect.Type, value: Any) -> bool:
    # msgspec does not ask for the tag where a union has one member so far. An author must give it from the start, or a
    # second kind would break every config.
    return isinstance(info, inspect.StructType) and bool(info.tag_field) and info.tag_field not in value


def _walk(info: inspect.Type, value: Any, path: Path, note: Note, *, hidden: bool = False) -> bool:  # noqa: PLR0911
    """Note everything that is wrong with the value; say whether anything was."""
    match info:
        case inspect.Metadata():
            return _walk(info.type, value, path, note, hidden=hidden or bool(info.extra))
        case inspect.StructType():
            return _walk_struct(info, value, path, note)
        case inspect.UnionType():
            return _walk_union(info, value, path, note, hidden=hidden)
        case inspect.VarTupleType() if isinstance(value, list | tuple):
            wrong = [_walk(info.item_type, item, (*path, n), note, hidden=hidden) for n, item in enumerate(value)]
            return any(wrong)
        case inspect.DictType() if isinstance(value, Mapping):
            wrong = [_walk(info.value_type, item, (*path, str(key)), note) for key, item in value.items()]
            return any(wrong)
        case inspect.AnyType():
            return False
        case _ if _fits(info, value):
            return False
        case _:
            note(path, f"expected {_expected(info)}, got {_seen(value, hidden=hidden)}")
            return True


def _walk_struct(info: inspect.StructType, value: Any, path: Path, note: Note) -> bool:
    if not isinstance(value, Mapping):
        note(path, f"expected a table, got {_seen(value)}")
        return True
    tag, wrong = info.tag_field, False
    if tag and value.get(tag) != info.tag:
        note((*path, tag), _tag_message((str(info.tag),), tag, value))
        wrong = True
    fields = {field.encode_name: field for field in info.fields}
    for key, item in value.items():
        if key in fields:
            wrong |= _walk(fields[key].type, item, (*path, key), note)
        elif key != tag:
            note(
                (*path, str(key)),
                f"there is no such field{did_you_mean(str(key), [*fields, *([tag] if tag else [])])}",
            )
            wrong = True
    for name, field in fields.items():
        if field.required and name not in value:
            note((*path, name), f"missing: expected {_expected(field.type)}")
            wrong = True
    return wrong


def _walk_union(info: inspect.UnionType, value: Any, path: Path, note: Note, *, hidden: bool) -> bool:
    structs = [kind for kind in info.types if isinstance(kind, inspect.StructType)]
    if isinstance(value, Mapping) and structs:
        tag = structs[0].tag_field
        if not tag:
            return _walk_struct(structs[0], value, path, note)
        for struct in structs:
            if value.get(tag) == struct.tag:
                return _walk_struct(struct, value, path, note)
        note((*path, tag), _tag_message(tuple(str(kind.tag) for kind in structs), tag, value))
        return True
    if isinstance(value, list | tuple):
        for kind in info.types:
            if isinstance(kind, inspect.VarTupleType):
                return _walk(kind, value, path, note, hidden=hidden)
    hidden = hidden or any(isinstance(kind, inspect.Metadata) for kind in info.types)
    if any(_fits(kind, value) for kind in info.types):
        return False
    note(path, f"expected {_expected(info)}, got {_seen(value, hidden=hidden)}")
    return True


def _tag_message(tags: tuple[str, ...], tag: str, value: Mapping[str, Any]) -> str:
    expected = _one_of(tags)
    if tag not in value:
        return f"missing: expected {expected}"
    return f"expected {expected}, got {_seen(value[tag])}{did_you_mean(str(value[tag]), tags)}"


def _fits(info: inspect.Type, value: Any) -> bool:  # noqa: PLR0911 - one line for each kind
    match info:
        case inspect.Metadata():
            return _fits(info.type, value)
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool) and _in_range(info, value)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool) and _in_range(info, value)
        case inspect.StrType():
            return isinstance(value, str) and _matches(value, info)
        case inspect.LiteralType():
            return any(type(value) is type(word) and value == word for word in info.values)
        case _:
            return False


def _in_range(info: inspect.IntType | inspect.FloatType, value: float) -> bool:
    return (
        (info.ge is None or value >= info.ge)
        and (info.gt is None or value > info.gt)
        and (info.le is None or value <= info.le)
        and (info.lt is None or value < info.lt)
    )


def _matches(value: str, info: inspect.StrType) -> bool:
    return (
        (info.pattern is None or re.search(info.pattern, value) is not None)
        and (info.min_length is None or len(value) >= info.min_length)
        and (info.max_length is None or len(value) <= info.max_length)
    )


def _expected(info: inspect.Type) -> str:  # noqa: PLR0911 - one line for each kind
    match info:
        case inspect.Metadata():
            return _expected(info.type)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _range(info)
        case inspect.FloatType():
            return "a number" + _range(info)
        case inspect.StrType():
            return f"a text that matches {info.pattern}" if info.pattern else "a text"
        case inspect.LiteralType():
            return _one_of(info.values)
        case inspect.VarTupleType():
            return "a list"
        case inspect.UnionType():
            kinds = [_expected(kind) for kind in info.types if not isinstance(kind, inspect.NoneType)]
            return " or ".join(dict.fromkeys(kinds))
        case _:
            return "a table"


def _range(info: inspect.IntType | inspect.FloatType) -> str:
    low = f"more than {info.gt}" if info.gt is not None else f"{info.ge}" if info.ge is not None else ""
    high = f"less than {info.lt}" if info.lt is not None else f"{info.le}" if info.le is not None else ""
    if info.gt is None and info.lt is None and low and high:
        return f" from {low} to {high}"
    limits = [
        f"at least {low}" if low and info.gt is None else low,
        f"at most {high}" if high and info.lt is None else high,
    ]
    return " " + " and ".join(limit for limit in limits if limit) if any(limits) else ""


def _one_of(words: Iterable[object]) -> str:
    quoted = [f'"{word}"' for word in words]
    return quoted[0] if len(quoted) == 1 else f"one of {', '.join(quoted)}"


def _seen(value: Any, *, hidden: bool = False) -> str:  # noqa: PLR0911 - one line for each kind
    match value:
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case str() if not hidden:
            return repr(value if len(value) <= 60 else value[:57] + "…")
        case int() | float() if not hidden:
            return repr(value)
        case int() | float():
            return "a number"
        case str():
            return "another text"
        case _:
            return f"a {type(value).__name__}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest of the known words; empty if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
