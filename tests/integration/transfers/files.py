"""What tests of single options look at: whole folders, and what was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from mft.aio import boottime
from mft.errors import Unavailable
from mft.events import catalogue
from mft.transfers.context import Permit, RunContext
from mft.transfers.located import LocatedRemote
from mft.transfers.remotes.base import PIECE_BYTES, Remote
from mft.transfers.run import Tally, run_pass
from tests.integration.transfers.conftest import Bench


def tree(folder: Path) -> dict[str, bytes]:
    """Return path → content of all files below a folder but hidden ones directly in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    paths = {str(path.relative_to(folder)): path for path in files}
    return {name: path.read_bytes() for name, path in sorted(paths.items()) if not name.startswith(".")}


def told(bench: Bench, event: int) -> int:
    """Count how often an event was emitted."""
    return [id for id, _ in bench.events].count(event)


def reasons(bench: Bench) -> list[str]:
    """Return why files failed."""
    return [str(fields["reason"]) for id, fields in bench.events if id == catalogue.FILE_FAILED_WILL_RETRY]


class Asked:
    """A throttle that lets everything pass at once and counts it."""

    def __init__(self) -> None:
        self.size_bytes = 0

    async def __call__(self, size_bytes: int) -> None:
        """Count."""
        self.size_bytes += size_bytes


class At(Permit):
    """A permit that does something at one of its checks: between two pieces of a content, for instance."""

    def __init__(self, check: int, do: Callable[[], None]) -> None:
        super().__init__(boottime() + 600)
        self._left = check
        self._do = do

    def check(self) -> None:
        """Count down; at zero do it."""
        super().check()
        self._left -= 1
        if self._left == 0:
            self._do()


def at_mib(mebibytes: int, do: Callable[[], None]) -> At:
    """Give a permit that does something when about so much of a content has been passed on."""
    return At(mebibytes * 1024 * 1024 // PIECE_BYTES, do)


def cut() -> None:
    """Fail as a lost connection does."""
    raise Unavailable("cut")


async def run_with(bench: Bench, term: int = 7, *, sweep: bool = False, **changes: Any) -> Tally:
    """Make one pass with some of its context changed; it raises as the pass does."""
    tally = Tally()
    context = msgspec.structs.replace(await bench.context(term), **changes)
    await run_pass(context, dict(bench.journal.records), bench.stability, tally, sweep=sweep)
    return tally


class Wrapped:
    """A remote some of whose calls are replaced; all others go through."""

    def __init__(self, remote: Any, **replaced: Any) -> None:
        self._remote = remote
        self.__dict__ |= replaced

    def __getattr__(self, name: str) -> Any:
        return getattr(self._remote, name)


def with_remote(context: RunContext, role: str, **replaced: Any) -> RunContext:
    """Replace calls of the source or the destination."""
    located = cast(LocatedRemote, getattr(context, role))
    wrapped = cast(Remote, Wrapped(located.remote, **replaced))
    changed: dict[str, Any] = {role: LocatedRemote(wrapped, located.location, cast(Any, role))}
    return msgspec.structs.replace(context, **changed)
