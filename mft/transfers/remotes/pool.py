"""Open remotes, kept between runs: a warm connection is what makes the first delivery after a failover quick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import asyncssh

from mft.errors import Denied, MftError, Unavailable
from mft.events import catalogue
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


def _to_nobody(event: int, fields: dict[str, Any]) -> None:
    pass


class RemotePool:
    """One open remote for each location, shared by all runs of the worker; opened at first use.

    A remote belongs to the tasks that asked for it. When the last of them has ended, it is kept for the location's
    `keep_open_s`, for the next run. One that failed is given up by `discard`, so the next use connects anew.
    """

    def __init__(self, emit: Callable[[int, dict[str, Any]], None] = _to_nobody) -> None:
        self._emit = emit
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
                await self.discard(id, known[1], "its location was changed")
            remote = await self._connect(id, spec)
            self._open[id] = (spec, remote)
            return remote

    async def discard(self, id: str, remote: Remote, reason: str = "it failed") -> None:
        """Close this remote; does nothing if it was replaced already."""
        known = self._open.get(id)
        if known and known[1] is remote:
            del self._open[id]
            self._tell(catalogue.PARTNER_DISCONNECTED, id, known[0], reason=reason)
        await remote.close()

    async def discard_if_broken(self, id: str, remote: Remote, error: MftError) -> None:
        """Close this remote if the error says that the connection may be gone: nobody should trust it again."""
        if isinstance(error, Unavailable):
            await self.discard(id, remote, error.message)

    async def close(self) -> None:
        """Close all."""
        for timer in self._ends.values():
            timer.cancel()
        self._ends.clear()
        for id, (_, remote) in list(self._open.items()):
            await self.discard(id, remote, "the worker ends")

    async def _connect(self, id: str, spec: LocationSpec) -> Remote:
        """Open the location, and tell of it."""
        self._tell(catalogue.PARTNER_CONNECTING, id, spec)
        try:
            remote = await KINDS[type(spec)](spec)
        except Denied as error:
            if isinstance(error.__cause__, asyncssh.HostKeyNotVerifiable):
                self._tell(catalogue.PARTNER_IS_ANOTHER, id, spec, reason=error.message)
            raise
        self._tell(catalogue.PARTNER_CONNECTED, id, spec)
        return remote

    def _tell(self, event: int, id: str, spec: LocationSpec, **fields: str) -> None:
        if isinstance(spec, SshLocationSpec):
            self._emit(event, {"location": id, "address": f"{spec.address}:{spec.port}", **fields})

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
            self._tell(catalogue.PARTNER_DISCONNECTED, id, known[0], reason="no transfer uses it")
            known[1].abort()
