"""Which sources that were to stay are gone for certain, so that the ledger may forget them.

Out of sight is not gone: storage may not be mounted, a folder may refuse to be listed, a filter may mean less today.
What the ledger forgets is sent again when it comes back. So a source is gone only where the folder that it stood in
shows other things and not this one, or is itself missing from a folder that does; and only if that has been so for an
hour, or, where the ledger has little room, a minute. An empty folder proves nothing: a mount point without its storage
is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mft.aio import boottime
from mft.errors import LeadershipLost, MftError, NotFound, Unavailable
from mft.transfers.remotes.base import Entry, Remote, join

_GONE_S = 3600.0
"""How long a source must have been missing: storage comes and goes, also in the middle of a look."""
_GONE_CROWDED_S = 60.0
"""The same, where the ledger has little room."""
_LOOKS_MAX = 1000
"""Folders that one pass looks for by itself, so that a pass stays short; the next pass looks for more."""


class Missing:
    """What one walk over a source folder has not met of what the ledger knows."""

    def __init__(self, known: Iterable[str]) -> None:
        """`known` are paths under the source folder."""
        self._names = set(known)
        self._shown: set[str] = set()
        """Folders in which something stands."""
        self._unlisted: set[str] = set()
        """Those that could not be looked through."""
        self._is_there: dict[str, bool] = {}

    def meet(self, entry: Entry) -> None:
        """Take note of what the walk has met, whether the transfer means it or not."""
        self._names.discard(entry.name)
        folder = entry.name
        while folder:
            folder = folder.rpartition("/")[0]
            if folder in self._shown:
                return
            self._shown.add(folder)

    def skip(self, folder: str) -> None:
        """Take note of a folder that the walk could not look through."""
        self._unlisted.add(folder)

    async def gone(self, source: Remote, root: str, since: dict[str, float], *, is_crowded: bool) -> Sequence[str]:
        """Return what is gone, once the walk has ended.

        `since` is what is missing → when that was first seen; it outlives the pass, and is brought up to date.

        Raises:
            Unavailable: the source cannot be reached.
        """
        now = boottime()
        missing = [name for name in self._names if await self._is_gone(source, root, name)]
        first_seen = {name: since.get(name, now) for name in missing}
        since.clear()
        since.update(first_seen)
        least_s = _GONE_CROWDED_S if is_crowded else _GONE_S
        return [name for name in missing if now - first_seen[name] >= least_s]

    async def _is_gone(self, source: Remote, root: str, name: str) -> bool:
        """Say whether something is missing from a folder that was listed, or that is so itself."""
        folder = name.rpartition("/")[0]
        if folder in self._unlisted:
            return False
        if folder in self._shown:
            return True
        return (
            bool(folder) and not await self._stands(source, root, folder) and await self._is_gone(source, root, folder)
        )

    async def _stands(self, source: Remote, root: str, folder: str) -> bool:
        """Say whether a folder that the walk has not met is there; if in doubt, it is."""
        if folder not in self._is_there:
            if len(self._is_there) >= _LOOKS_MAX:
                return True
            self._is_there[folder] = True
            try:
                await source.lstat(join(root, folder))
            except NotFound:
                self._is_there[folder] = False
            except (Unavailable, LeadershipLost):
                raise
            except MftError:
                pass
        return self._is_there[folder]
