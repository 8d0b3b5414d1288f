"""`[nodes.NAME]`: what differs on one instance."""

from __future__ import annotations

from typing import Any

from mft.model.spec import Spec


class NodeSpec(Spec, frozen=True, kw_only=True):
    """Labels, variables and overrides of the instance with this name. An instance needs no such entry to join."""

    description: str = ""
    labels: dict[str, str] = {}
    """For `run_on = {labels = …}`."""
    variables: dict[str, str] = {}
    """`{node.var.X}` in string values."""
    overrides: dict[str, dict[str, dict[str, Any]]] = {}
    """Family → id → fields that replace those of the component on this instance; tables merge, all else replaces."""
