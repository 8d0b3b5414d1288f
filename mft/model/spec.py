"""The base of every spec, and how a field says what must happen to its value."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what an author writes: immutable, an unknown field is an error. Each repeats `frozen` and `kw_only`."""


Secret = Annotated[str, Meta(extra={"secret": True})]
"""Sealed by the controller before it leaves it, opened by the node that needs it, never shown or logged."""

PasswordHash = Annotated[str, Meta(extra={"password": True})]
"""Given in clear or as a hash (`$argon2id$…`, `$5$…`, `$6$…`); the controller stores only hashes. Never shown."""

Seconds = Annotated[float, Meta(gt=0, le=86400 * 366)]
"""A length of time in seconds, more than none."""

Port = Annotated[int, Meta(ge=1, le=65535)]
"""A TCP port that can be asked for by number."""
