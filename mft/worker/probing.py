"""Trying whether locations can be reached from here: one connection each, nothing read but one answer, closed again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mft.errors import MftError, Unavailable
from mft.model.config import Config
from mft.model.locations import LocalLocationSpec, LocationSpec
from mft.transfers.remotes.base import Remote
from mft.transfers.remotes.pool import KINDS


async def reachable(
    config: Config, locations: Sequence[str], limit_s: float, tasks: asyncio.TaskGroup
) -> tuple[str, ...]:
    """Say which of the locations can be reached within `limit_s`, trying all at once.

    The attempts are children of `tasks`: one that hangs, as a call to a dead storage does, is left to end by itself.
    """
    attempts = {
        tasks.create_task(_try(config.locations[id]), name=f"probe:{id}"): id
        for id in dict.fromkeys(locations)
        if id in config.locations and type(config.locations[id]) in KINDS
    }
    if not attempts:
        return ()
    try:
        done, _ = await asyncio.wait(attempts, timeout=limit_s)
    finally:
        for attempt in attempts:
            attempt.cancel()
    return tuple(sorted(attempts[attempt] for attempt in done if not attempt.cancelled() and attempt.result()))


async def _try(spec: LocationSpec) -> bool:
    """Connect anew, whatever connections there are: a dead one may look alive for minutes."""
    remote: Remote | None = None
    try:
        remote = await KINDS[type(spec)](spec)
        await remote.lstat(".")
    except MftError as error:
        # Of a server any answer shows that it is there; a folder that is missing is storage that is not mounted.
        return remote is not None and not isinstance(error, Unavailable) and not isinstance(spec, LocalLocationSpec)
    finally:
        if remote is not None:
            remote.abort()
    return True
