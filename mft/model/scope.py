"""`run_on`: on which instances a service, transfer or event handler is active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mft.model.spec import Spec

Role = Literal["controller", "node"]

WORDS = ("all", "controller", "nodes")
"""The three words that `run_on` knows; no node may have one of them as its name."""


class LabelsSpec(Spec, frozen=True, kw_only=True):
    """Active on instances that carry all these labels."""

    labels: dict[str, str]


RunOn = str | tuple[str, ...] | LabelsSpec
"""`"all"`, `"controller"`, `"nodes"`, a list of names, or `{labels = {k = "v"}}`."""


class Instance(Spec, frozen=True, kw_only=True):
    """One running program as scoping sees it."""

    name: str
    role: Role
    labels: dict[str, str] = {}


def matches(run_on: RunOn, instance: Instance) -> bool:
    """Say whether a component with this `run_on` is active on the instance."""
    if isinstance(run_on, LabelsSpec):
        return is_labelled(run_on.labels, instance.labels)
    if isinstance(run_on, tuple):
        return instance.name in run_on
    return run_on == "all" or (run_on == "controller") == (instance.role == "controller")


def is_labelled(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Say whether `labels` has every wanted key with the wanted value."""
    return all(labels.get(key) == value for key, value in wanted.items())
