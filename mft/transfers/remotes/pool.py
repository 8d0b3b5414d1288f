"""Open remotes, kept between runs: a warm connection is what makes the first delivery after a failover quick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from mft.errors import MftError, Unavailable
from mft.model.locations import LocalLocationSpec, LocationSpec, SftpLocationSpec
from mft.transfers.remotes.base import Remote
from mft.transfers.remotes.local import LocalRemote
from mft.transfers.remotes.sftp import SftpRemote


async def _open_local(spec: LocalLocationSpec) -> Remote:
    return LocalRemote(spec)


KINDS: Mapping[type, Callable[[Any], Coroutine[Any, Any, Remote]]] = {
    LocalLocationSpec: _open_local,
    SftpLocationSpec: SftpRemote.open,
}
"""Spec → what opens it."""


class RemotePool:
    """One open remote for each location, shared by all runs of the worker; opened at first use.

    A remote that failed is given up by `discard`, so the next use connects anew.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[LocationSpec, Remote]] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def get(self, id: str, spec: LocationSpec) -> Remote:
        """Return the location's open remote. A changed spec closes the old connection first.

        Raises:
            Unavailable: it cannot be reached.
            Denied: it is somebody else, or refuses the login.
        """
        async with self._opening.setdefault(id, asyncio.Lock()):
            known = self._open.get(id)
            if known and known[0] == spec:
                return known[1]
            if known:
                await self.discard(id, known[1])
            remote = await KINDS[type(spec)](spec)
            self._open[id] = (spec, remote)
            return remote

    async def discard(self, id: str, remote: Remote) -> None:
        """Close this remote; does nothing if it was replaced already."""
        known = self._open.get(id)
        if known and known[1] is remote:
            del self._open[id]
        await remote.close()

    async def discard_if_broken(self, id: str, remote: Remote, error: MftError) -> None:
        """Close this remote if the error says that the connection may be gone: nobody should trust it again."""
        if isinstance(error, Unavailable):
            await self.discard(id, remote)

    async def close(self) -> None:
        """Close all."""
        for id, (_, remote) in list(self._open.items()):
            await self.discard(id, remote)
