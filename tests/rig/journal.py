"""A journal in memory, as the edge of the outbound worker: what etcd would hold, and any moment to stop at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from mft.errors import MftError, Unavailable
from mft.model.delivery import Kept, Record

Told = list[tuple[str, str]]


class MemoryJournal:
    """Records of one transfer by delivery. `refuse` may raise instead of a write, or after it, to break off there."""

    def __init__(self, records: dict[str, Record] | None = None) -> None:
        self.records = dict(records or {})
        self.ledger: dict[str, Kept] = {}
        """Kept source → as it was when it was delivered; written with `done`, as the real journal does."""
        self.told: Told = []
        """Each write: delivery, and the state (or `forget`)."""
        self.before: Callable[[str, str], MftError | None] = lambda _delivery, _state: None
        """Gives the error with which a write (delivery, state) fails, not written."""
        self.after: Callable[[str, str], MftError | None] = lambda _delivery, _state: None
        """Gives the error with which a write fails although it was written: the lost answer, or a kill right then."""

    async def put(self, delivery: str, record: Record) -> None:
        """Write this record."""
        self._may(self.before, delivery, record.state)
        self.records[delivery] = record
        if record.kept is not None and record.state == "done":
            self.ledger[record.name] = record.kept
        self.told.append((delivery, record.state))
        self._may(self.after, delivery, record.state)

    async def forget(self, delivery: str) -> None:
        """Remove the record."""
        self._may(self.before, delivery, "forget")
        self.records.pop(delivery, None)
        self.told.append((delivery, "forget"))
        self._may(self.after, delivery, "forget")

    async def put_all(self, records: Mapping[str, Record]) -> Mapping[str, MftError]:
        """Write these records, one after the other."""
        return await self._each((delivery, self.put(delivery, record)) for delivery, record in records.items())

    async def forget_all(self, deliveries: Sequence[str]) -> Mapping[str, MftError]:
        """Remove these records, one after the other."""
        return await self._each((delivery, self.forget(delivery)) for delivery in deliveries)

    @staticmethod
    async def _each(writes: Iterable[tuple[str, Awaitable[None]]]) -> Mapping[str, MftError]:
        refused: dict[str, MftError] = {}
        for delivery, write in writes:
            try:
                await write
            except Unavailable:
                raise
            except MftError as error:
                refused[delivery] = error
        return refused

    @staticmethod
    def _may(rule: Callable[[str, str], MftError | None], delivery: str, state: str) -> None:
        if error := rule(delivery, state):
            raise error
