"""The manual's page of all families and fields, made from the specs: `python -m tests.unit.docs.config_reference`."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from mft.model import scope
from mft.model.config import FAMILIES
from mft.model.server import ServerSpec
from mft.model.spec import Spec

_HEAD = """# Config reference

All families and fields of a config, as the programs have them. How a document is written and applied is in
[configure](configure.md). A field without a default must be given; an unknown field is an error.

- Every id is free text of 1 to 200 printable characters without a slash, UUIDs included.
- Durations are seconds and may have a fraction. Paths of folders are absolute, paths in a transfer are relative to its
  location's root.
- *secret*: sealed before it leaves the controller, opened on the instances that need it, shown as `***`.
- *password*: given in clear or hashed (`$argon2id$…`, `$5$…`, `$6$…`); only the hash is stored, shown as `***`.
- `run_on` is `"all"`, `"controller"`, `"nodes"`, a list of names, or `{ labels = { k = "v" } }`.
- In plain texts `{host.name}` (the instance's name), `{node.label.X}` and `{node.var.X}` stand for what the instance
  has under that name; not in descriptions, labels, public keys and `run_on`.

This page is made from the program's specs by `python -m tests.unit.docs.config_reference`.
"""


def page() -> str:
    """Write the page: families in the order of the config, one table for each kind of component."""
    parts = [_HEAD, "\n## `[server]`\n", _table(ServerSpec)]
    for family, kind in FAMILIES.items():
        members = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        parts.append(f"\n## `[{family}.{'NAME' if family == 'nodes' else 'ID'}]`\n")
        for member in members:
            tag = member.__struct_config__.tag
            if tag:
                parts.append(f'\n### `type = "{tag}"`\n')
            parts.append(_table(member))
            for name, table in _tables_below(member):
                parts.append(f"\n#### `{name}` of the above\n" + _table(table))
    return "".join(parts)


def _table(spec: type[Spec]) -> str:
    said = field_docs(spec)
    rows = [f"\n{inspect.getdoc(spec)}\n\n| field | value | default | |\n| --- | --- | --- | --- |\n"]
    if spec.__struct_config__.tag:
        rows.append(f'| `type` | `"{spec.__struct_config__.tag}"` | must be given | |\n')
    hints = typing.get_type_hints(spec, include_extras=True)
    for field in msgspec.structs.fields(spec):
        about = " ".join(said.get(field.name, "").split())
        value = _type_text(hints[field.name])
        rows.append(f"| `{field.encode_name}` | {value} | {_default(field)} | {_cell(about)} |\n")
    return "".join(rows)


def _tables_below(spec: type[Spec]) -> Iterator[tuple[str, type[Spec]]]:
    hints = typing.get_type_hints(spec)
    for field in msgspec.structs.fields(spec):
        kinds = typing.get_args(hints[field.name]) or (hints[field.name],)
        for kind in kinds if field.name != "run_on" else ():  # Said once, at the head of the page.
            if isinstance(kind, type) and issubclass(kind, Spec):
                yield field.encode_name, kind


def field_docs(spec: type[Spec]) -> dict[str, str]:
    """Return field → the text that stands under it in the source."""
    found = {}
    for kind in (kind for kind in reversed(spec.__mro__) if issubclass(kind, Spec)):
        tree = ast.parse(inspect.getsource(kind)).body[0]
        assert isinstance(tree, ast.ClassDef)
        for before, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and _is_text(after):
                found[before.target.id] = ast.literal_eval(after.value)  # type: ignore[attr-defined]
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _type_text(hint: Any) -> str:  # noqa: PLR0911 - one line for each kind
    if hint == scope.RunOn:
        return "`run_on`"
    if typing.get_origin(hint) is typing.Annotated:
        kind, *notes = typing.get_args(hint)
        for note in notes:
            if isinstance(note, msgspec.Meta):
                if note.extra:
                    return next(iter(note.extra))
                return _type_text(kind) + _bounds(note)
        return _type_text(kind)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(f"`{json.dumps(word)}`" for word in arguments)
    if origin is tuple:
        return f"list of {_type_text(arguments[0])}"
    if origin is dict:
        return "table"
    if origin is types.UnionType or origin is typing.Union:
        return " or ".join(_type_text(kind) for kind in arguments if kind is not type(None))
    if isinstance(hint, type) and issubclass(hint, Spec):
        return "table, see below"
    return {str: "text", bool: "true or false", int: "whole number", float: "number"}[hint]


def _bounds(note: msgspec.Meta) -> str:
    texts = [
        f"{word} {limit:.12g}"
        for word, limit in (("more than", note.gt), ("from", note.ge), ("less than", note.lt), ("to", note.le))
        if limit is not None
    ]
    texts += [f"matching `{note.pattern}`"] if note.pattern else []
    return ", " + " ".join(texts) if texts else ""


def _default(field: Any) -> str:
    if field.required:
        return "must be given"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None:
        return "none"
    return f"`{json.dumps(msgspec.to_builtins(value))}`" if value not in ((), {}, "") else "empty"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
