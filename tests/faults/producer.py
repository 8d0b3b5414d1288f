"""A producer that reuses few names, by the rules of each flow."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

SIZES = (
    *((0.60, 64, 16_000), (0.28, 16_000, 300_000), (0.10, 300_000, 2_000_000), (0.018, 2_000_000, 8_000_000)),
    (0.002, 8_400_000, 16_000_000),
)
"""Share of the files, and the bounds of their size in bytes: mostly small, as in practice, some of several pieces and a
few that are hashed aside."""
MARKER = "batch.ready"
"""Comes last in each batch."""
BATCH_FILES_MAX = 9
_LOOK_EVERY_S = 0.005
_FULL_WAIT_S = 0.05


class Produced(NamedTuple):
    """One content. Its first line names it, so that it is unique and can be told from all others."""

    number: int
    name: str
    sha256: str
    size_bytes: int


class Naming(Protocol):
    """Says which names the next file may have."""

    def free(self, produced: Sequence[Produced]) -> Sequence[str]:
        """Give the names that are free now; none: ask again in a moment."""
        ...

    def chosen(self, name: str) -> None:
        """Take note that the next file has this one of them."""
        ...


class Taken:
    """A few names, each free again as soon as its source has been taken."""

    def __init__(self, outgoing: Path, names: int) -> None:
        self._outgoing = outgoing
        self._names = _some(names)

    def free(self, produced: Sequence[Produced]) -> Sequence[str]:
        """Give those that are not there."""
        present = set(os.listdir(self._outgoing))
        return [name for name in self._names if name not in present]

    def chosen(self, name: str) -> None:
        """Nothing to note: the file will be there."""


class Kept:
    """Sources that stay: a name is written anew once its last content has arrived. Without names none comes twice.

    Not before, because a content that was replaced unsent is rightly never sent.
    """

    def __init__(self, names: int, arrived: Callable[[str], bool]) -> None:
        """`arrived` says whether the content with this hash has been taken at the partner."""
        self._names = _some(names)
        self._arrived = arrived
        self._last: dict[str, str] = {}
        self._seen = 0

    def free(self, produced: Sequence[Produced]) -> Sequence[str]:
        """Give those that are not there yet, and those whose last content has arrived."""
        if not self._names:
            return [f"report-{len(produced):06d}.dat"]
        self._last |= {each.name: each.sha256 for each in produced[self._seen :]}
        self._seen = len(produced)
        return [name for name in self._names if name not in self._last or self._arrived(self._last[name])]

    def chosen(self, name: str) -> None:
        """Nothing to note: `produced` will have it."""


class Batches:
    """Files that belong together, the marker last; the next batch begins when nothing of the one before is there."""

    def __init__(self, outgoing: Path, files: int, draw: random.Random) -> None:
        self._outgoing = outgoing
        self._left = files
        self._draw = draw
        self._batch: tuple[str, ...] = ()
        self._next: list[str] = []

    def free(self, produced: Sequence[Produced]) -> Sequence[str]:
        """Give the one name that is next."""
        if not self._next and not set(self._batch) & set(os.listdir(self._outgoing)):
            count = min(self._draw.randint(2, BATCH_FILES_MAX), self._left)
            self._batch = (*(f"part-{number}.dat" for number in range(1, count)), MARKER)
            self._next = list(self._batch)
        return self._next[:1]

    def chosen(self, name: str) -> None:
        """Go on to the next file of the batch."""
        self._next.remove(name)
        self._left -= 1


def _some(names: int) -> tuple[str, ...]:
    return tuple(f"report-{number:03d}.dat" for number in range(names))


class Producer:
    """Writes hidden files and renames them into place, as uploads to our own service do."""

    def __init__(self, outgoing: Path, files: int, naming: Naming, draw: random.Random) -> None:
        self._outgoing = outgoing
        self._files = files
        self._naming = naming
        self._draw = draw
        self.produced: list[Produced] = []

    async def run(self, may: Callable[[int], Awaitable[object]]) -> None:
        """Produce all files; `may` returns when the file of that number may be written."""
        for number in range(self._files):
            await may(number)
            while not (free := self._naming.free(self.produced)):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_LOOK_EVERY_S)
            name = self._draw.choice(free)
            self._naming.chosen(name)
            await self._produce(number, name)

    async def _produce(self, number: int, name: str) -> None:
        content = self._content(number, name)
        hidden = self._outgoing / f".{name}.tmp"
        while True:
            try:
                hidden.write_bytes(content)
                break
            except OSError:  # The disk is full: one of the faults.
                hidden.unlink(missing_ok=True)
                await asyncio.sleep(_FULL_WAIT_S)
        # Noted before it can be taken, so that nothing can be taken that is not known.
        self.produced.append(Produced(number, name, hashlib.sha256(content).hexdigest(), len(content)))
        hidden.rename(self._outgoing / name)

    def _content(self, number: int, name: str) -> bytes:
        shares = [share for share, _, _ in SIZES]
        _, least, most = self._draw.choices(SIZES, shares)[0]
        head = f"{name} {number}\n".encode()
        return head + self._draw.randbytes(self._draw.randint(least, most))
