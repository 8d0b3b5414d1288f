"""A producer that reuses few names: the next file gets a name as soon as the last source of that name was taken."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

SIZES = ((0.60, 64, 16_000), (0.28, 16_000, 300_000), (0.10, 300_000, 2_000_000), (0.02, 2_000_000, 8_000_000))
"""Share of the files, and the bounds of their size in bytes: mostly small, as in practice, some of several pieces."""
_LOOK_EVERY_S = 0.005
_FULL_WAIT_S = 0.05


class Produced(NamedTuple):
    """One content. Its first line names it, so that it is unique and can be told from all others."""

    number: int
    name: str
    sha256: str
    size_bytes: int


class Producer:
    """Writes hidden files and renames them into place, as uploads to our own service do."""

    def __init__(self, outgoing: Path, files: int, names: int, draw: random.Random) -> None:
        """`names` 0: none is used twice, for sources that stay."""
        self._outgoing = outgoing
        self._files = files
        self._names = tuple(f"report-{number:03d}.dat" for number in range(names))
        self._draw = draw
        self.produced: list[Produced] = []

    async def run(self, may: Callable[[int], Awaitable[object]]) -> None:
        """Produce all files; `may` returns when the file of that number may be written."""
        for number in range(self._files):
            await may(number)
            await self._produce(number, await self._free_name())

    async def _free_name(self) -> str:
        while True:
            if not self._names:
                return f"report-{len(self.produced):06d}.dat"
            present = set(os.listdir(self._outgoing))
            if free := [name for name in self._names if name not in present]:
                return self._draw.choice(free)
            await asyncio.sleep(_LOOK_EVERY_S)

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
