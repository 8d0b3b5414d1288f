"""Taken sources of transfers that are no longer in the config: nobody would deliver them, so they are told of."""

from __future__ import annotations

from collections.abc import Collection, Container
from functools import cached_property
from typing import NamedTuple

from mft.errors import Denied, NotFound
from mft.model.delivery import TAKEN_FOLDER, taken_at
from mft.transfers.remotes.base import Remote, join
from mft.transfers.taking import delivery_prefix

_FOLDERS_MAX = 100
"""Told of at one time; what is done about some is seen at the next sweep."""
_AGE_S_MIN = 3600.0
"""Younger ones may belong to a transfer of other instances, which this one's config does not have."""


class Orphan(NamedTuple):
    """What stands in `.mft/` for no known transfer."""

    path: str
    """Folder of the delivery."""
    taken_at: float
    """Seconds since 1970."""


class Prefixes(Container[str]):
    """What delivery ids of these transfers begin with. Worked out only when asked: it takes a while."""

    def __init__(self, transfers: Collection[str]) -> None:
        self._transfers = transfers

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(map(delivery_prefix, self._transfers))

    def __contains__(self, prefix: object) -> bool:
        return prefix in self._known


async def find_orphans(remote: Remote, folder: str, known_prefixes: Container[str], now: float) -> tuple[Orphan, ...]:
    """List what stands in `.mft/` of this source folder for none of the transfers with these prefixes."""
    orphans: list[Orphan] = []
    try:
        async for entry in remote.scan(join(folder, TAKEN_FOLDER)):
            prefix = entry.name.partition("-")[0] + "-"
            when = taken_at(entry.name)
            if entry.is_folder and now - when >= _AGE_S_MIN and prefix not in known_prefixes:
                if len(orphans) == _FOLDERS_MAX:
                    break
                orphans.append(Orphan(join(folder, TAKEN_FOLDER, entry.name), when))
    except (NotFound, Denied):
        return ()
    return tuple(orphans)
