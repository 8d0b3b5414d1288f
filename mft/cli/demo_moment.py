"""One moment of the deliveries, looked at while the leader is frozen: exact, and without any hook in the product.

A frozen node sends nothing more, and what it had sent is carried out within milliseconds. So what then stands in the
journal, in the inbox and among the taken sources is what a kill at this moment leaves behind.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct, json

from mft.cluster.keys import Keys
from mft.cluster.membership import decode_candidate
from mft.etcd.kv import Kv
from mft.etcd.ops import GetPrefix
from mft.model.delivery import TAKEN_FOLDER, Record
from mft.model.transfers import DEFAULT_GROUP


class KillAt(StrEnum):
    """State of a delivery at which the leader is to be killed."""

    UPLOADING = "uploading"
    INTENT = "intent"
    RENAMED = "renamed"
    ANY = "any"


STATES = (KillAt.UPLOADING, KillAt.INTENT, KillAt.RENAMED)
"""The states that a delivery in flight can be in."""


class Moment(Struct, frozen=True, kw_only=True):
    """What was in flight."""

    leader: str
    """Who leads according to etcd; empty: nobody."""
    states: Mapping[str, KillAt]
    """Delivery → state, for all in flight."""
    is_consumed: bool
    """Whether the consumer had taken everything that was published."""

    @property
    def in_flight(self) -> int:
        """How many deliveries were in flight."""
        return len(self.states)

    def found(self, wanted: KillAt) -> KillAt | None:
        """Give the wanted state if a delivery is in it, else the rarest of those that there are; None for none."""
        counts = Counter(self.states.values())
        if counts[wanted]:
            return wanted
        return min(counts, key=lambda state: counts[state], default=None)


async def look(kv: Kv, cluster: str, transfer: str, outgoing: Path, inbox: Path) -> Moment:
    """Look at the transfer's deliveries between a source folder and an inbox."""
    keys = Keys(cluster)
    journal = keys.journal(transfer)
    result = await kv.txn(when=[], then=[GetPrefix(journal), GetPrefix(keys.election(DEFAULT_GROUP))])
    records = {kv.key.removeprefix(journal): json.decode(kv.value, type=Record) for kv in result.listing(0).kvs}
    candidates = sorted(result.listing(1).kvs, key=lambda kv: kv.create_revision)
    names = os.listdir(inbox)  # noqa: PTH208 -- names are all that is wanted, at once
    return Moment(
        leader=decode_candidate(candidates[0].value).name if candidates else "",
        states=classify(records, taken(outgoing), names),
        is_consumed=all(name.startswith(".") for name in names),
    )


def taken(outgoing: Path) -> list[str]:
    """List the deliveries whose source is taken and not yet removed."""
    try:
        return [entry.name for entry in (outgoing / TAKEN_FOLDER).iterdir() if any(entry.iterdir())]
    except FileNotFoundError:
        return []  # None was taken yet, or one has just been removed; the next look sees it.


def classify(records: Mapping[str, Record], taken: Collection[str], names: Collection[str]) -> dict[str, KillAt]:
    """Say in which state each delivery in flight is; pure.

    `records` is delivery → record, `taken` the deliveries with a source, `names` all that stands in the inbox.
    """
    states = {
        delivery: KillAt.UPLOADING
        for delivery in taken
        if delivery not in records and any(name.startswith(f".{delivery}.") for name in names)
    }
    for delivery, record in records.items():
        if record.state == "intent":
            published = not set(record.names) & set(names)
            states[delivery] = KillAt.RENAMED if published else KillAt.INTENT
    return states
