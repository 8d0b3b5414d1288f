"""One file on its way: its record in the journal, its states, and the names of its temp files.

The states are those of the model in tests/model, which checks the protocol exhaustively (ARCHITECTURE §5):

    taken      the source stands in `.mft/<delivery>/`; no record. Uploading happens in this state
    intent     the record names every temp file that may be renamed to the final name, oldest first
    done       published for certain; the taken source may go
    (gone)     no record, no taken source: forgotten
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

State = Literal["intent", "done", "uncertain"]
"""States that a record can have. `taken` has none: the taken source itself is the record."""

TAKEN_FOLDER = ".mft"
"""Folder beside the sources in which taken ones stand: `.mft/<delivery>/<name>`."""


class Term(NamedTuple):
    """One leadership. Compared whole: a restored store may hand out a create revision a second time."""

    incarnation: str
    create_revision: int


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the journal says of one delivery, under `journal/<transfer>/<delivery>`."""

    state: State
    name: str
    """Path under the source folder, which is also the path under the destination folder."""
    names: tuple[str, ...] = ()
    """Temp names, oldest first, any of which may hold the finished upload. The last is the writer's own."""
    size_bytes: int = 0
    sha256: str = ""
    node: str = ""
    reason: str = ""
    """Why it is uncertain."""


def term_mark(term: Term) -> str:
    """Write a term as it stands in names of temp files.

    With some of the incarnation: a store that was restored from a backup hands out a create revision a second time, and
    no name in an `intent` may ever be made again.
    """
    return f"{term.incarnation[:6]}-{term.create_revision}"


def temp_name(delivery: str, term: Term, attempt: str) -> str:
    """Name the temp file of one attempt. Never used twice: `attempt` grows with every connection and worker."""
    return f".{delivery}.{term_mark(term)}.{attempt}.part"
