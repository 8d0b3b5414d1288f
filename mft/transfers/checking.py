"""Whether what arrived is what was sent: size, hash by the server, or reading it back."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

from mft.errors import MftError
from mft.transfers.context import Permit, Throttle
from mft.transfers.remotes.base import Remote

Check = Literal["size", "hash", "read-back"]


class Sent(NamedTuple):
    """What was sent, and where it should stand."""

    path: str
    size_bytes: int
    sha256: str


async def check_arrived(remote: Remote, sent: Sent, how: Check, permit: Permit, throttle: Throttle) -> None:
    """Compare what arrived with what was sent. `throttle` is that of what is read back.

    Raises:
        MftError: it is something else. Sent once more it may arrive.
    """
    arrived = await remote.lstat(sent.path)
    if arrived.size_bytes != sent.size_bytes:
        raise MftError(f"sent {sent.size_bytes} bytes, but {arrived.size_bytes} arrived")
    if how == "size":
        return
    found = await remote.sha256(sent.path) if how == "hash" else None
    if found is None:
        found = await _read_back(remote, sent.path, permit, throttle)
    if found.lower() != sent.sha256:
        raise MftError(f"what arrived is not what was sent: its SHA-256 is {found}, not {sent.sha256}")


async def _read_back(remote: Remote, path: str, permit: Permit, throttle: Throttle) -> str:
    digest = hashlib.sha256()
    async with remote.read(path) as pieces:
        async for piece in pieces:
            await throttle(len(piece))
            permit.check()
            digest.update(piece)
    return digest.hexdigest()
