"""`[event-handlers.ID]`: what happens with events."""

from __future__ import annotations

from typing import Literal

from mft.model.scope import RunOn
from mft.model.spec import Spec


class LocalFileHandlerSpec(Spec, frozen=True, kw_only=True, tag="local-file", tag_field="type"):
    """Append each event as one line to a file of the instance."""

    enabled: bool = True
    name: str = ""
    run_on: RunOn = "all"
    path: str
    """Absolute. With `{host.name}` in it each instance has a file of its own. Missing parent folders are made."""
    format: Literal["text", "json"] = "text"


EventHandlerSpec = LocalFileHandlerSpec
"""Union of all kinds of event handler."""
