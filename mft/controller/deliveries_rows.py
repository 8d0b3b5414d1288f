"""What events say of deliveries, as rows: pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, NamedTuple

from mft.events import catalogue

OUTCOMES: Mapping[int, str] = {
    catalogue.FILE_DELIVERED: "delivered",
    catalogue.FILE_FAILED_WILL_RETRY: "failed",
    catalogue.FILE_QUARANTINED: "quarantined",
    catalogue.DELIVERY_UNCERTAIN: "uncertain",
    catalogue.DESTINATION_KEPT: "kept",
}
"""Event → what became of the file."""

TEXT_CHARACTERS_MAX = 4096


class Arrived(NamedTuple):
    """One event as an instance sent it."""

    sequence: int
    id: int
    at: float
    severity: str
    text: str
    fields: Mapping[str, Any]


class Row(NamedTuple):
    """What one event says of a delivery, in the order of the statement that stores it."""

    delivery: str
    transfer: str
    outcome: str
    reason: str
    source_path: str
    destination_path: str
    source_name: str
    destination_name: str
    location: str
    size_bytes: int
    sha256: str
    node: str
    run: int
    config_version: int
    term: int
    at: float


class Found(NamedTuple):
    """One delivery as it is known; see admin.proto."""

    delivery: str
    transfer: str
    outcome: str
    reason: str
    source_path: str
    destination_path: str
    location: str
    size_bytes: int
    sha256: str
    node: str
    run: int
    attempts: int
    config_version: int
    term: int
    at: float


class Trouble(NamedTuple):
    """Something that went wrong with a transfer."""

    at: float
    node: str
    event: int
    severity: str
    text: str


class Question(NamedTuple):
    """Which deliveries are asked for. Empty and 0 mean: all."""

    path: str = ""
    transfer: str = ""
    since: float = 0.0
    until: float = 0.0
    outcome: str = ""
    limit: int = 100
    after: str = ""


class Page(NamedTuple):
    """Some deliveries, and where the next ones begin; empty: there are no more."""

    deliveries: tuple[Found, ...]
    following: str


def row_of(node: str, event: Arrived) -> Row | None:
    """Say what an event tells of a delivery; None if it is of something else."""
    outcome, fields = OUTCOMES.get(event.id), event.fields
    delivery = _text(fields.get("delivery"))
    if outcome is None or not delivery:
        return None
    path = _text(fields.get("path"))
    # `path` is the destination of what was uploaded, and else the source.
    uploaded = event.id in {catalogue.FILE_DELIVERED, catalogue.DELIVERY_UNCERTAIN}
    source = _text(fields.get("source")) or ("" if uploaded else path)
    destination = _text(fields.get("destination")) or (path if uploaded else "")
    term, _, run = _text(fields.get("attempt")).partition(".")
    return Row(
        delivery=delivery,
        transfer=_text(fields.get("transfer")),
        outcome=outcome,
        reason=_text(fields.get("reason")),
        source_path=source,
        destination_path=destination,
        source_name=posixpath.basename(source),
        destination_name=posixpath.basename(destination),
        location=_text(fields.get("location")),
        size_bytes=_number(fields.get("size_bytes")),
        sha256=_text(fields.get("sha256")),
        node=node,
        run=int(run) if run.isdecimal() else 0,
        config_version=_number(fields.get("version")),
        term=int(term) if term.isdecimal() else 0,
        at=event.at,
    )


def trouble_of(node: str, event: Arrived) -> tuple[str, float, str, int, str, str] | None:
    """Say what went wrong with a transfer; None if nothing did. Shape: transfer, then as `Trouble`."""
    transfer = _text(event.fields.get("transfer"))
    if event.id == catalogue.FILE_DELIVERED or not transfer:
        return None
    return transfer, event.at, node, event.id, _text(event.severity), _text(event.text)


def _text(value: object) -> str:
    """Make a text that can be stored: a file name may be no UTF-8."""
    if not isinstance(value, str):
        return ""
    if value.isascii():
        return value[:TEXT_CHARACTERS_MAX]
    return value[:TEXT_CHARACTERS_MAX].encode("utf-8", "backslashreplace").decode()


def _number(value: object) -> int:
    if not isinstance(value, int | float) or not -(2**63) < value < 2**63:
        return 0
    return int(value)
