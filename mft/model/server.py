"""`[server]`: what holds for the whole cluster."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from mft.model.spec import Spec


class ServerSpec(Spec, frozen=True, kw_only=True):
    """Settings of the cluster as a whole."""

    name: str = ""
    """What operators call this cluster; shown, never used as a key."""
    description: str = ""
    password_minimum_length: Annotated[int, Meta(ge=1, le=1024)] = 8
    """Characters that a password given in clear must have; hashes cannot be checked."""
    etcd_quota_bytes: Annotated[int, Meta(ge=16 * 1024**2)] = 2 * 1024**3
    """Bytes that each member of etcd may take on its disk, as it was started (`--quota-backend-bytes`; its default is
    the same). From 80 % on it is told (event 70060)."""
    umask: Annotated[str, Meta(pattern="^0?[0-7]{3}$")] = "027"
    """Taken from the permissions of files and folders that sessions and transfers make. Octal."""
