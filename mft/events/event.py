"""One event: what happened, where and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

Severity = Literal["info", "warning", "error", "critical"]


class Event(Struct, frozen=True, kw_only=True):
    """One thing that happened on one instance."""

    id: int
    name: str
    """The catalogue's short name, for people who search."""
    severity: Severity
    at: float
    """Seconds since 1970."""
    instance: str
    text: str
    """One sentence for people."""
    fields: Mapping[str, Any]

    @property
    def timestamp(self) -> str:
        """UTC, ISO 8601, microseconds."""
        return datetime.fromtimestamp(self.at, UTC).isoformat(timespec="microseconds")
