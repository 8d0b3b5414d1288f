"""Which leader group a transfer's records belong to: so that moving a transfer is as safe as a change of leaders.

    owners/<transfer>   name of the group; written with the first record, and by the leader of one that takes it over

A journal's writes compare the term of *their* group's leader. While a transfer moves from one group to another, and
nodes learn of that one after the other, two leaders may have it at once, each rightly in its own term. So every write
also compares that the owner is as this term has seen it. Who begins with a transfer of another group's first writes its
own group there, and reads the records after that: to this transfer it is what an election is to all, the moment from
which on nothing of the leader before is written. What that one had journalled until then is taken over as from any
other term; its temp names differ, because a term's number is unique in the whole store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from mft.cluster.keys import Keys
from mft.errors import Conflict, LeadershipLost
from mft.etcd.kv import Kv
from mft.etcd.ops import Condition, Get, Put, mod_revision
from mft.etcd.records import KeyValue

_AGAIN_S = 10.0
"""How long a transfer is left to the group that took it. Nodes learn of a config within that time. Where they are meant
to differ for longer (a staged version), it goes to and fro: slow, but each file is still delivered once."""


class Owners:
    """The owners of transfers as one term has read and written them."""

    def __init__(self, kv: Kv, keys: Keys, group: str, term_holds: Sequence[Condition]) -> None:
        self._kv = kv
        self._keys = keys
        self._group = group.encode()
        self._term_holds = term_holds
        self._revisions: dict[str, int] = {}
        self._foreign: dict[str, str] = {}
        """Transfer → the other group that has it."""
        self._lost_at: dict[str, float] = {}

    async def load(self, transfer: str = "") -> None:
        """Read the owners of all transfers, or of one. Raises `Unavailable` if etcd cannot be reached."""
        if transfer:
            self.learn(transfer, (await self._kv.get(self._keys.owner(transfer))).kv)
            return
        for kv in (await self._kv.get_prefix(self._keys.owners)).kvs:
            self.learn(kv.key.removeprefix(self._keys.owners), kv)

    def learn(self, transfer: str, kv: KeyValue | None) -> bool:
        """Take note of what stands there now. Says whether it belongs to this group, or to none yet."""
        self._revisions[transfer] = kv.mod_revision if kv else 0
        if kv is None or kv.value == self._group:
            self._foreign.pop(transfer, None)
        else:
            self._foreign[transfer] = kv.value.decode("utf-8", "replace")
        return transfer not in self._foreign

    def lose(self, transfer: str) -> Conflict:
        """Take note that another group took it in the midst of this group's work; give the error for what was to be."""
        self._lost_at.setdefault(transfer, asyncio.get_running_loop().time())
        return self._refused(transfer)

    async def take(self, transfer: str) -> bool:
        """Make the transfer this group's, before a pass. Says whether it was another's: then read its records anew.

        Raises:
            Conflict: another group has just taken it; that one may be right.
            LeadershipLost: this term is over.
            Unavailable: etcd cannot be reached.
        """
        if transfer not in self._foreign:
            return False
        lost_at = self._lost_at.get(transfer)
        if lost_at is not None:
            if asyncio.get_running_loop().time() - lost_at < _AGAIN_S:
                raise self._refused(transfer)
            await self.load(transfer)
            del self._lost_at[transfer]
        key = self._keys.owner(transfer)
        result = await self._kv.txn(
            when=[*self._term_holds, *self.conditions([transfer])], then=[Put(key, self._group)], otherwise=[Get(key)]
        )
        if result.succeeded:
            self._revisions[transfer] = result.header.revision
            self._foreign.pop(transfer, None)
            return True
        seen = self._revisions[transfer]
        self.learn(transfer, result.listing(0).kv)
        if self._revisions[transfer] == seen:
            raise LeadershipLost("another term has begun")
        raise self._refused(transfer)

    def conditions(self, transfers: Collection[str]) -> list[Condition]:
        """Say what every write to these transfers compares."""
        return [mod_revision(self._keys.owner(id)) == self._revisions.get(id, 0) for id in transfers]

    def claims(self, transfers: Collection[str]) -> list[Put]:
        """Give what is written with the first record of those that nobody owns yet."""
        return [Put(self._keys.owner(id), self._group) for id in transfers if not self._revisions.get(id, 0)]

    def settled(self, transfers: Collection[str], revision: int) -> None:
        """Take note that a transaction with their claims was applied."""
        for id in transfers:
            if not self._revisions.get(id, 0):
                self._revisions[id] = revision

    def refusal(self, transfer: str) -> Conflict | None:
        """Give the error for every write to a transfer that is another group's; None if it is not."""
        other = self._foreign.get(transfer)
        if other is None:
            return None
        return Conflict(f"transfer {transfer} belongs to leader group {other} now; it may have been moved there")

    def _refused(self, transfer: str) -> Conflict:
        return self.refusal(transfer) or Conflict(f"transfer {transfer} is being moved to another leader group")
