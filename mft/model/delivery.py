"""One file on its way: its record in the journal, its states, and the names of its temp files.

The states are those of the model in tests/model, which checks the protocol exhaustively (ARCHITECTURE §5):

    taken      the source stands in `.mft/<delivery>/`; no record. Uploading happens in this state
    intent     the record names every temp file that may be renamed to the final name, oldest first
    done       published for certain; the taken source may go
    (gone)     no record, no taken source: forgotten

A source that is kept is not taken: there the ledger says that it was delivered, and `intent` and `done` compare it.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from msgspec import Struct

State = Literal["taken", "intent", "done", "uncertain", "quarantined"]
"""States that a record can have. As a rule `taken` has none: the taken source itself is the record. It has one where an
intent was taken back, or where an operator has a file sent that was in quarantine. A quarantined one was taken, failed
too often before any intent, and waits for the operator."""

TAKEN_FOLDER = ".mft"
"""Folder beside the sources in which taken ones stand: `.mft/<delivery>/<name>`."""


_TEMP = re.compile(r"[0-9a-f]{8}-[0-9a-f]{22}\.[^./]*-\d+\.\d+-\d+")


class Term(NamedTuple):
    """One leadership. Compared whole: a restored store may hand out a create revision a second time."""

    incarnation: str
    create_revision: int


LEDGER_ENTRIES_MAX = 100_000
"""Kept sources that one transfer may have delivered: the ledger is in etcd, which is no archive."""
LEDGER_ENTRIES_MANY = LEDGER_ENTRIES_MAX * 4 // 5
"""From so many on operators are warned."""


class Kept(Struct, frozen=True, array_like=True):
    """A source that stays, as it was when it was delivered: what a ledger compares."""

    size_bytes: int
    mtime: float
    inode: int = 0
    """On local storage; 0 where the remote tells none."""


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """What the ledger says of one kept source, under `ledger/<transfer>/<hash of path>`."""

    path: str
    """Under the source folder."""
    source: Kept
    delivery: str


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the journal says of one delivery, under `journal/<transfer>/<delivery>`."""

    state: State
    name: str
    """Path under the source folder, which is also the path under the destination folder."""
    target: str = ""
    """Path under the destination folder, where it is another than `name`. Settled before the first intent, because a
    rule may name the time."""
    names: tuple[str, ...] = ()
    """Temp names, oldest first, any of which may hold the finished upload. The last is the writer's own."""
    size_bytes: int = 0
    sha256: str = ""
    node: str = ""
    kept: Kept | None = None
    """The source, if it stays where it is; then `done` is written together with the ledger's entry."""
    reason: str = ""
    """Why it is uncertain or in quarantine."""
    place: str = ""
    """Mark of the folders between which it goes: what is missing in other ones, since its transfer was changed, proves
    nothing. Empty: it is not known."""
    skipped: bool = False
    """Done without being sent: the destination has a file of that name, and the overwrite rule is to leave it."""
    again: bool = False
    """Done once more: its taken source was gone, which goes only after `done`. So it was counted before."""

    @property
    def arrives(self) -> bool:
        """Whether it says that the file has come to its destination, by this delivery and for the first time."""
        return self.state == "done" and not self.skipped and not self.again

    @property
    def final_name(self) -> str:
        """Path under the destination folder."""
        return self.target or self.name


def term_mark(term: Term) -> str:
    """Write a term as it stands in names of temp files.

    With some of the incarnation: a store that was restored from a backup hands out a create revision a second time, and
    no name in an `intent` may ever be made again.
    """
    return f"{term.incarnation[:6]}-{term.create_revision}"


def temp_name(delivery: str, term: Term, attempt: str, prefix: str = ".", suffix: str = ".part") -> str:
    """Name the temp file of one attempt. Never used twice: `attempt` (`RUN-COUNT`) grows with every connection."""
    return f"{prefix}{delivery}.{term_mark(term)}.{attempt}{suffix}"


def is_temp(name: str) -> bool:
    """Say whether this is the temp file of any transfer of any cluster, whatever prefix and suffix that has."""
    return _TEMP.search(name) is not None


def is_stale_temp(name: str, deliveries: str, term: Term, run: int) -> bool:
    """Say whether this is the temp file of a transfer, but not of this run.

    One of another life of the store is left: it may be another cluster's, with a transfer of the same name to the same
    folder, and its temp file in an `intent`; what vanishes there counts as published.

    `deliveries` is what all delivery ids of the transfer begin with. Whatever prefix and suffix the transfer had when
    the file was made: the delivery's id and what follows it tell.
    """
    found = re.search(rf"{re.escape(deliveries)}[0-9a-f]{{22}}\.(?P<mark>[^./]*-\d+)\.(?P<run>\d+)-\d+", name)
    if found is None or not found["mark"].startswith(f"{term.incarnation[:6]}-"):
        return False
    return (found["mark"], int(found["run"])) != (term_mark(term), run)


def taken_at(delivery: str) -> float:
    """Say when a delivery was taken, in seconds since 1970: its id has it, so every attempt reads the same."""
    milliseconds = delivery.rpartition("-")[2][:12]
    try:
        return int(milliseconds, 16) / 1000
    except ValueError:
        return 0.0
