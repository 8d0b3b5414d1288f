"""How many files of a transfer were ever delivered, where it is said how many are expected: exactly, over all leaders.

    arrivals/<transfer>   a number that only grows; written by the transaction that makes a record `done`

So a file is counted if, and only if, it is noted as delivered. Each transaction writes the whole number, and compares
that the one before is as this term has seen it: a copy of a transaction that comes late is refused, and one without
answer has counted all of its files or none. What came in a period is the difference of two numbers (`counting.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from mft.cluster.keys import Keys
from mft.errors import MftError
from mft.etcd.kv import Kv
from mft.etcd.ops import Condition, Put, mod_revision
from mft.etcd.records import KeyValue


class Arrivals:
    """The numbers of all transfers as one term has read and written them."""

    def __init__(self, kv: Kv, keys: Keys) -> None:
        self._kv = kv
        self._keys = keys
        self._revisions: dict[str, int] = {}
        self._files: dict[str, int] = {}

    async def load(self, transfer: str = "") -> None:
        """Read the numbers of all transfers, or of one. Raises `Unavailable` if etcd cannot be reached."""
        if transfer:
            self.learn(transfer, (await self._kv.get(self._keys.arrived(transfer))).kv)
            return
        for kv in (await self._kv.get_prefix(self._keys.arrivals)).kvs:
            self.learn(kv.key.removeprefix(self._keys.arrivals), kv)

    def learn(self, transfer: str, kv: KeyValue | None) -> None:
        """Take note of what stands there, unless it is known already, or was read before the last write."""
        if kv is None or kv.mod_revision <= self._revisions.get(transfer, 0):
            return
        try:
            self._files[transfer] = int(kv.value)
        except ValueError as error:
            raise MftError(f"{kv.key} in etcd is no number, perhaps a newer program wrote it") from error
        self._revisions[transfer] = kv.mod_revision

    def forget(self, transfer: str) -> None:
        """Take note that no number stands there any more: somebody has removed it."""
        self._files.pop(transfer, None)
        self._revisions.pop(transfer, None)

    def files(self, transfer: str) -> int:
        """Give the number."""
        return self._files.get(transfer, 0)

    def conditions(self, more: Mapping[str, int]) -> list[Condition]:
        """Say what a transaction compares that counts so many files more."""
        return [mod_revision(self._keys.arrived(id)) == self._revisions.get(id, 0) for id in more]

    def puts(self, more: Mapping[str, int]) -> list[Put]:
        """Give what it writes."""
        return [Put(self._keys.arrived(id), b"%d" % (self.files(id) + files)) for id, files in more.items()]

    def settled(self, more: Mapping[str, int], revision: int) -> None:
        """Take note that it was applied."""
        for id, files in more.items():
            self._files[id] = self.files(id) + files
            self._revisions[id] = revision
