"""What is in flight at one moment, and freezing the leader so that a fault hits just the wanted state."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct, json

from mft.cluster.keys import Keys
from mft.cluster.membership import decode_candidate
from mft.errors import MftError
from mft.etcd.kv import Kv
from mft.etcd.ops import GetPrefix
from mft.model.delivery import TAKEN_FOLDER, Record
from mft.model.transfers import DEFAULT_GROUP


class State(StrEnum):
    """Where a delivery in flight stands."""

    UPLOADING = "uploading"
    INTENT = "intent"
    RENAMED = "renamed"
    DONE = "done"
    REMOVED = "removed"


WORKER_FIRST = frozenset({State.UPLOADING, State.INTENT, State.DONE})
"""States that are met more often if the worker is frozen before its agent, which then still writes the journal. The
others are met more often the other way round: the worker goes on as far as it gets without the journal."""


HELD_BY_ANSWERS = frozenset({State.INTENT, State.DONE})
"""States in which a delivery stays as long as no answer of etcd comes; in the next ones, as long as no request goes."""
SEEN_BEFORE = {
    State.INTENT: State.INTENT,
    State.RENAMED: State.RENAMED,
    State.DONE: State.DONE,
    State.REMOVED: State.DONE,
}
"""State → one at or before it that an answer ends: the partner's ends `RENAMED`, etcd's the others. `UPLOADING` lasts
long enough by itself."""


class Moment(Struct, frozen=True, kw_only=True):
    """What was in flight."""

    leader: str
    """Who leads according to etcd; empty: nobody."""
    states: Mapping[str, State]
    """Delivery → state."""

    def rarest(self) -> State | None:
        """Give the state that the fewest deliveries are in; None if none is in flight."""
        counts = Counter(self.states.values())
        return min(counts, key=lambda state: counts[state], default=None)


async def look(kv: Kv, keys: Keys, transfer: str, outgoing: Path, inbox: Path) -> Moment | None:
    """Look at a transfer's deliveries between a source folder and an inbox; None if etcd does not answer."""
    journal = keys.journal(transfer)
    try:
        result = await kv.txn(when=[], then=[GetPrefix(journal), GetPrefix(keys.election(DEFAULT_GROUP))])
    except MftError:
        return None
    records = {kv.key.removeprefix(journal): json.decode(kv.value, type=Record) for kv in result.listing(0).kvs}
    candidates = sorted(result.listing(1).kvs, key=lambda kv: kv.create_revision)
    leader = decode_candidate(candidates[0].value).name if candidates else ""
    return Moment(leader=leader, states=classify(records, taken(outgoing), os.listdir(inbox)))


def taken(outgoing: Path) -> list[str]:
    """List the deliveries whose source is taken and not yet removed."""
    found = []
    for folder, _, files in os.walk(outgoing / TAKEN_FOLDER):  # Which bears that a folder has just been removed.
        if files:
            found.append(Path(folder).name)
    return found


def classify(records: Mapping[str, Record], taken: Collection[str], names: Collection[str]) -> dict[str, State]:
    """Say in which state each delivery in flight is; pure. `names` is all that stands in the inbox.

    Where sources are kept none is taken: then every temp file without a record counts as being uploaded.
    """
    temps = {name.split(".")[1] for name in names if name.startswith(".") and name.endswith(".part")}
    states = {delivery: State.UPLOADING for delivery in temps - records.keys() if delivery in taken or not taken}
    for delivery, record in records.items():
        if record.state == "intent":
            states[delivery] = State.INTENT if set(record.names) & set(names) else State.RENAMED
        elif record.state == "done":
            states[delivery] = State.DONE if delivery in taken else State.REMOVED
    return states
