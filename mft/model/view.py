"""What one instance sees of the config: overrides merged, what is out of scope left out, variables expanded.

Overrides come first, so that they may change where a component runs; scope second, so that a variable that only some
instances define matters only where the component is active; expansion last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from mft.errors import Problem
from mft.model.config import FAMILIES, Config
from mft.model.decode import decode_component, invalid
from mft.model.document import path_of
from mft.model.nodes import NodeSpec
from mft.model.scope import Instance, Role, matches
from mft.model.walk import Place, components_of, rewrite

SCOPED = ("services", "transfers", "event-handlers")
"""Families whose components say with `enabled` and `run_on` where they are active."""

VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
"""What is a variable in a text: a dotted name in braces. Other braces are plain text."""


def instance_of(config: Config, name: str, role: Role) -> Instance:
    """Describe an instance as scoping sees it: with the labels that the config gives to its name."""
    return Instance(name=name, role=role, labels=dict(config.nodes.get(name, NodeSpec()).labels))


def view(config: Config, name: str, role: Role) -> Config:
    """Return the config as the instance of this name and role sees it.

    Components out of scope are left out, and of `nodes` only its own entry stays, without overrides: another node's
    secrets are none of its business. Secrets may still be sealed: they are never expanded.
    Raises `Invalid` if an override does not fit or a variable is not defined for this instance.
    """
    return expanded(in_scope(overridden(config, name), instance_of(config, name, role)), name)


def overridden(config: Config, name: str) -> Config:
    """Return the config with the overrides of `[nodes.NAME]` merged in: tables merge, all else is replaced."""
    node = config.nodes.get(name)
    if node is None or not node.overrides:
        return config
    changed: dict[str, Any] = {}
    for family, components in node.overrides.items():
        merged = dict(components_of(config, family)) if family in FAMILIES else {}
        for id, fields in components.items():
            if id not in merged:
                place = path_of("nodes", name, "overrides", family, id)
                raise invalid([Problem(place, "there is no such component to override")])
            table = merge(msgspec.to_builtins(merged[id]), fields)
            merged[id] = decode_component(family, id, table, ("nodes", name, "overrides", family, id))
        changed[family.replace("-", "_")] = merged
    return msgspec.structs.replace(config, **changed)


def merge(table: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two tables: tables within them merge, all else of `over` replaces."""
    merged = dict(table)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def in_scope(config: Config, instance: Instance) -> Config:
    """Return the config without the components that are not active on this instance."""
    own = config.nodes.get(instance.name)
    changed: dict[str, Any] = {"nodes": {instance.name: msgspec.structs.replace(own, overrides={})} if own else {}}
    for family in SCOPED:
        changed[family.replace("-", "_")] = {
            id: spec
            for id, spec in components_of(config, family).items()
            if spec.enabled and matches(spec.run_on, instance)
        }
    return msgspec.structs.replace(config, **changed)


def expanded(config: Config, name: str) -> Config:
    """Return the config with every variable in its plain texts replaced by the value it has for this instance."""
    values = variables(config, name)
    problems: list[Problem] = []

    def expand(place: Place, text: str) -> str:
        if "{" not in text:
            return text
        problems.extend(
            Problem(path_of(*place), f"the variable {{{unknown}}} is not defined for {name}")
            for unknown in VARIABLE.findall(text)
            if unknown not in values
        )
        return VARIABLE.sub(lambda found: values.get(found[1], found[0]), text)

    new = rewrite(config, "plain", expand)
    if problems:
        raise invalid(problems)
    return new


def variables(config: Config, name: str) -> dict[str, str]:
    """List the variables that this instance has, with their values."""
    node = config.nodes.get(name, NodeSpec())
    return {
        "host.name": name,
        **{f"node.label.{key}": value for key, value in node.labels.items()},
        **{f"node.var.{key}": value for key, value in node.variables.items()},
    }
