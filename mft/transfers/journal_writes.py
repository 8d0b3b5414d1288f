"""The writes of a journal: each knows what became of it, and those who asked wait for all of theirs together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mft.errors import MftError
from mft.etcd.ops import Delete, Put
from mft.model.delivery import Kept, Record

RECORDS_PER_TXN_MAX = 120
"""Records in one transaction. etcd takes 128 comparisons and as many operations; a kept source's record may need two of
each, so that fewer go together."""
_OPERATIONS_MAX = 126
"""Comparisons or operations of one transaction beside the two of the term: those of records, and one for each owner and
for each number of files."""


@dataclass(slots=True, eq=False)
class Write:
    """One key to be written; `value` None: to be removed."""

    key: str
    value: bytes | None
    transfer: str
    delivery: str = ""
    record: Record | None = None
    path: str = ""
    """A kept source of which the ledger is known to say `kept` afterwards."""
    kept: Kept | None = None
    ledger_key: str = ""
    """Of a source that is kept: the ledger's entry, which must not have changed either."""
    entry: bytes | None = None
    """What the ledger is to say, in the same transaction."""
    is_expected: bool = False
    """Whether the file is counted, if this makes it delivered."""
    on_settled: Callable[[], None] | None = None
    error: MftError | None = None
    """Why it is not written, once it is settled."""
    is_settled: bool = False

    def settle(self, error: MftError | None = None) -> None:
        """Say what became of it; the first word counts."""
        if not self.is_settled:
            self.is_settled, self.error = True, error
            if self.on_settled is not None:
                self.on_settled()

    def operations(self) -> list[Put | Delete]:
        """Give what a transaction does to make it."""
        made: list[Put | Delete] = [Delete(self.key) if self.value is None else Put(self.key, self.value)]
        if self.entry is not None:
            made.append(Put(self.ledger_key, self.entry))
        return made


class Commit:
    """Writes that were asked for together, and whoever waits for them."""

    def __init__(self, writes: Sequence[Write]) -> None:
        """`writes` must not be empty, and each is in one commit."""
        self.writes = writes
        self._left = len(writes)
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for write in writes:
            write.on_settled = self._settle_one

    async def settled(self) -> None:
        """Wait until all are."""
        await self._settled

    def _settle_one(self) -> None:
        self._left -= 1
        if not self._left and not self._settled.done():  # It is cancelled with who waited.
            self._settled.set_result(None)


def divide(writes: list[Write]) -> tuple[list[Write], list[Write]]:
    """Divide into what can go in one transaction, no key twice, and what is left for the next."""
    batch: list[Write] = []
    left: list[Write] = []
    taken: set[str] = set()
    shared: set[tuple[str, bool]] = set()
    operations = 0
    for write in writes:
        keys = (write.key, write.ledger_key) if write.ledger_key else (write.key,)
        more = operations + len(keys)
        sharing = shared | {(write.transfer, False), (write.transfer, write.is_expected)}  # Its owner, and its number.
        if len(batch) == RECORDS_PER_TXN_MAX or more + len(sharing) > _OPERATIONS_MAX or not taken.isdisjoint(keys):
            left.append(write)
        else:
            batch.append(write)
            shared, operations = sharing, more
        taken.update(keys)  # Also of those left: what follows under one key must not overtake.
    return batch, left


def transfers_of(batch: list[Write]) -> list[str]:
    """Name the transfers of these writes, each once."""
    return sorted({write.transfer for write in batch})


def fail(writes: list[Write], error: MftError) -> None:
    """Say of those that are not settled why they are not written."""
    for write in writes:
        write.settle(error)
