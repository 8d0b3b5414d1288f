"""Visiting the texts of a config: all secrets, all passwords, or all plain texts, wherever they stand.

Specs are walked by their types, so a new spec's secret is sealed, redacted and kept out of expansion without a line of
code. Overrides of nodes are walked as the component that they change.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import inspect

from mft.model.config import FAMILIES, Config
from mft.model.spec import Spec

Kind = Literal["secret", "password", "plain"]

Place = tuple[str | int, ...]
"""(family, id, field, …): where a text stands. In an override: (nodes, name, overrides, family, id, field, …)."""

Visit = Callable[[Place, str], str]

_NEVER_PLAIN = frozenset(
    {"run_on", "description", "labels", "variables", "ssh_authorized_keys", "host_keys"}
    | {"source_filter", "match", "template", "marker", "cron", "windows", "days"}
    | {"before", "after_success", "after_failure", "remote_before", "remote_after", "remote_after_failure"}
)
"""Fields of plain text in which nothing is expanded here: selectors, prose, public keys, expressions, and texts with
placeholders of their own."""


def rewrite(config: Config, kind: Kind, visit: Visit) -> Config:
    """Return the config with each text of this kind replaced by what `visit` returns; unchanged parts are shared."""
    changed: dict[str, Any] = {}
    for family in FAMILIES:
        components = components_of(config, family)
        new = {id: rewrite_spec(spec, kind, visit, (family, id)) for id, spec in components.items()}
        if family == "nodes":
            new = {id: _rewrite_overrides(config, id, spec, kind, visit) for id, spec in new.items()}
        if any(new[id] is not spec for id, spec in components.items()):
            changed[family.replace("-", "_")] = new
    server = rewrite_spec(config.server, kind, visit, ("server",))
    if server is not config.server:
        changed["server"] = server
    return msgspec.structs.replace(config, **changed) if changed else config


def rewrite_spec(spec: Any, kind: Kind, visit: Visit, place: Place) -> Any:
    """Do the same to one spec that stands at `place`."""
    changed = {}
    for name, encode_name, info in _fields(spec.__class__, kind):
        value = getattr(spec, name)
        new = _rewrite(value, info, kind, visit, (*place, encode_name))
        if new is not value:
            changed[name] = new
    return msgspec.structs.replace(spec, **changed) if changed else spec


def rewrite_table(table: Any, info: type, kind: Kind, visit: Visit, place: Place) -> dict[str, Any]:
    """Do the same to a table of some fields of the spec type `info`, as an override gives them."""
    new = dict(table)
    for _, encode_name, field in _fields(info, kind):
        if encode_name in new:
            new[encode_name] = _rewrite(new[encode_name], field, kind, visit, (*place, encode_name))
    return new


def components_of(config: Config, family: str) -> dict[str, Any]:
    """Return a family's components by the name that an author writes."""
    components: dict[str, Any] = getattr(config, family.replace("-", "_"))
    return components


def component_path(place: Place) -> str:
    """Name a place without its positions in lists: `services/main/listener/host_keys`. No id has a slash.

    A place in an override has the name of the place that it overrides: after merging nothing tells them apart.
    """
    if place[0] == "nodes" and place[2:3] == ("overrides",):
        place = place[3:]
    return "/".join(part for part in place if isinstance(part, str))


def _rewrite_overrides(config: Config, name: str, node: Any, kind: Kind, visit: Visit) -> Any:
    overrides, touched = dict(node.overrides), False
    for family, components in node.overrides.items():
        known = components_of(config, family) if family in FAMILIES else {}
        for id, table in components.items():
            if id in known and isinstance(table, Mapping):
                new = rewrite_table(table, type(known[id]), kind, visit, ("nodes", name, "overrides", family, id))
                if new != table:
                    overrides[family] = {**overrides[family], id: new}
                    touched = True
    return msgspec.structs.replace(node, overrides=overrides) if touched else node


def _rewrite(value: Any, info: inspect.Type, kind: Kind, visit: Visit, place: Place) -> Any:
    match value:
        case str():
            return visit(place, value)
        case list() | tuple():
            new = tuple(_rewrite(item, info, kind, visit, (*place, n)) for n, item in enumerate(value))
            return value if new == tuple(value) else type(value)(new)
        case Spec():
            return rewrite_spec(value, kind, visit, place)
        case Mapping():
            return _rewrite_mapping(value, info, kind, visit, place)
        case _:
            return value


def _rewrite_mapping(value: Mapping[str, Any], info: inspect.Type, kind: Kind, visit: Visit, place: Place) -> Any:
    struct = _struct_in(info)
    if struct is not None:
        return rewrite_table(value, struct, kind, visit, place)
    new = {key: _rewrite(item, info, kind, visit, (*place, key)) for key, item in value.items()}
    return value if new == value else new


@functools.cache
def _fields(spec: Any, kind: Kind) -> tuple[tuple[str, str, inspect.Type], ...]:
    """List the fields (name, name as written, type) in which texts of this kind can stand."""
    info = inspect.type_info(spec)
    assert isinstance(info, inspect.StructType), spec
    return tuple(
        (field.name, field.encode_name, field.type)
        for field in info.fields
        if _holds(field.type, kind) and not (kind == "plain" and field.name in _NEVER_PLAIN)
    )


def _holds(info: inspect.Type, kind: Kind, mark: str = "plain") -> bool:  # noqa: PLR0911 - one line for each kind
    match info:
        case inspect.Metadata():
            marks = [name for name in ("secret", "password") if (info.extra or {}).get(name)]
            return _holds(info.type, kind, marks[0] if marks else mark)
        case inspect.StrType():
            return mark == kind
        case inspect.VarTupleType():
            return _holds(info.item_type, kind, mark)
        case inspect.DictType():
            return _holds(info.value_type, kind, mark)
        case inspect.UnionType():
            return any(_holds(member, kind, mark) for member in info.types)
        case inspect.StructType():
            return bool(_fields(info.cls, kind))
        case _:
            return False


def _struct_in(info: inspect.Type) -> type | None:
    match info:
        case inspect.StructType():
            return info.cls
        case inspect.UnionType():
            return next((found for member in info.types if (found := _struct_in(member))), None)
        case inspect.DictType():
            return None
        case _:
            return None
