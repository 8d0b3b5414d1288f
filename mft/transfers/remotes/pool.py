"""Open remotes, kept between runs: a warm connection is what makes the first delivery after a failover quick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from mft.errors import MftError, Unavailable
from mft.model.locations import LocalLocationSpec, LocationSpec, ScpLocationSpec, SftpLocationSpec, SshLocationSpec
from mft.transfers.remotes.base import Remote
from mft.transfers.remotes.local import LocalRemote
from mft.transfers.remotes.scp import ScpRemote
from mft.transfers.remotes.sftp import SftpRemote


async def _open_local(spec: LocalLocationSpec) -> Remote:
    return LocalRemote(spec)


KINDS: Mapping[type, Callable[[Any], Coroutine[Any, Any, Remote]]] = {
    LocalLocationSpec: _open_local,
    SftpLocationSpec: SftpRemote.open,
    ScpLocationSpec: ScpRemote.open,
}
"""Spec → what opens it."""


class RemotePool:
    """One open remote for each location, shared by all runs of the worker; opened at first use.

    A remote belongs to the tasks that asked for it. When the last of them has ended, it is kept for the location's
    `keep_open_s`, for the next run. One that failed is given up by `discard`, so the next use connects anew.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[LocationSpec, Remote]] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._users: dict[str, set[asyncio.Task[Any]]] = {}
        self._ends: dict[str, asyncio.TimerHandle] = {}

    async def get(self, id: str, spec: LocationSpec) -> Remote:
        """Return the location's open remote, for the calling task. A changed spec closes the old connection first.

        Raises:
            Unavailable: it cannot be reached.
            Denied: it is somebody else, or refuses the login.
            Invalid: the location cannot be right.
        """
        async with self._opening.setdefault(id, asyncio.Lock()):
            self._hold(id, spec)
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
        for timer in self._ends.values():
            timer.cancel()
        self._ends.clear()
        for id, (_, remote) in list(self._open.items()):
            await self.discard(id, remote)

    def _hold(self, id: str, spec: LocationSpec) -> None:
        """Count the calling task as a user until it ends."""
        if not isinstance(spec, SshLocationSpec):
            return  # Nothing is kept open there.
        if (timer := self._ends.pop(id, None)) is not None:
            timer.cancel()
        task = asyncio.current_task()
        users = self._users.setdefault(id, set())
        if task is not None and task not in users:
            users.add(task)
            task.add_done_callback(partial(self._let_go, id))

    def _let_go(self, id: str, task: asyncio.Task[Any]) -> None:
        users = self._users.get(id, set())
        users.discard(task)
        known = self._open.get(id)
        if not users and known is not None and isinstance(known[0], SshLocationSpec):
            later = asyncio.get_running_loop().call_later
            self._ends[id] = later(known[0].keep_open_s, self._end, id)

    def _end(self, id: str) -> None:
        self._ends.pop(id, None)
        if not self._users.get(id) and (known := self._open.pop(id, None)) is not None:
            known[1].abort()
