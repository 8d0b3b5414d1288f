"""What must hold for each instance once its overrides are merged: they fit, and no two services want one socket."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mft.errors import Invalid, Problem
from mft.model.check_values import absolute_problem, address_problem
from mft.model.config import FAMILIES, Config
from mft.model.decode import decode_component
from mft.model.document import path_of
from mft.model.scope import Role
from mft.model.view import SCOPED, VARIABLE, in_scope, instance_of, merge, overridden, variables
from mft.model.walk import components_of

EVERYWHERE = frozenset({"0.0.0.0", "::"})
"""Addresses that take every other one of the same port."""

_ONE_FOR_ALL = ("run_on", "leader_group", "enabled")
"""Fields of a transfer that no node may override: two nodes would disagree on who leads it."""

_ROLES: tuple[Role, ...] = ("node", "controller")


def check_nodes(config: Config, written: Mapping[str, set[str]]) -> Iterator[Problem]:
    """Judge the overrides of every node, then the listeners of every instance that the config can tell apart.

    `written` (family → ids) are all components of the author's document, also those that did not decode.
    """
    yield from _overrides(config, written)
    sound = {
        name: node if _fits(config, name) else msgspec.structs.replace(node, overrides={})
        for name, node in config.nodes.items()
    }
    config = msgspec.structs.replace(config, nodes=sound)
    names = {"", *config.nodes}
    for family in SCOPED:
        for spec in components_of(config, family).values():
            names |= set(spec.run_on) if isinstance(spec.run_on, tuple) else set()
    seen: set[frozenset[str]] = set()
    for name, role in itertools.product(sorted(names), _ROLES):
        yield from _duplicates(config, name, role, seen)


def _overrides(config: Config, written: Mapping[str, set[str]]) -> Iterator[Problem]:
    for name, node in config.nodes.items():
        for family, components in node.overrides.items():
            place = ("nodes", name, "overrides", family)
            if family not in FAMILIES or family == "nodes":
                yield Problem(path_of(*place), "there is no such family to override")
                continue
            known = components_of(config, family)
            for id, fields in components.items():
                if id in known:
                    yield from _override(family, id, known[id], fields, (*place, id))
                elif id not in written.get(family, ()):
                    yield Problem(path_of(*place, id), f"there is no {path_of(family, id)} to override")


def _fits(config: Config, name: str) -> bool:
    try:
        overridden(config, name)
    except Invalid:
        return False
    return True


def _override(family: str, id: str, spec: Any, fields: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[Problem]:
    if family == "transfers":
        for field in _ONE_FOR_ALL:
            if field in fields:
                yield Problem(path_of(*place, field), "must be the same on all nodes: say it in the transfer itself")
    if "type" in fields:
        yield Problem(path_of(*place, "type"), "an override cannot change what the component is")
        return
    try:
        merged: Any = decode_component(family, id, merge(msgspec.to_builtins(spec), fields), place)
    except Invalid as error:
        yield from error.problems
        return
    for field in ("home_folder_path", "root", "path"):
        if field in fields and (problem := absolute_problem(getattr(merged, field))):
            yield Problem(path_of(*place, field), problem)
    if "address" in fields.get("listener", {}) and (problem := address_problem(merged.listener.address)):
        yield Problem(path_of(*place, "listener", "address"), problem)


def _duplicates(config: Config, name: str, role: Role, seen: set[frozenset[str]]) -> Iterator[Problem]:
    """Say which services of one instance want the same socket; each pair once, wherever it is found first."""
    services = in_scope(overridden(config, name), instance_of(config, name, role)).services
    values = variables(config, name)
    by_port: dict[int, list[tuple[str, str]]] = {}
    for id, service in services.items():
        address = VARIABLE.sub(lambda found: values.get(found[1], found[0]), service.listener.address)
        by_port.setdefault(service.listener.port, []).append((id, address))
    for port, listeners in by_port.items():
        for (one, address), (other, its_address) in itertools.combinations(listeners, 2):
            overlaps = address == its_address or {address, its_address} & EVERYWHERE
            if overlaps and frozenset({one, other}) not in seen:
                seen.add(frozenset({one, other}))
                where = f" on {name}" if name else ""
                yield Problem(
                    path_of("services", other, "listener", "port"),
                    f"port {port} is already taken{where} by {path_of('services', one)}",
                )
