"""One delivery at a time for each final name: two that become one name must not both find it free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Targets:
    """The final names that deliveries of one run are about to take. Shape: name → (lock, who has or wants it)."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, target: str) -> AsyncIterator[None]:
        """Wait until no other delivery looks at this name or takes it; have it for as long as the block lasts."""
        lock, users = self._locks.get(target, (asyncio.Lock(), 0))
        self._locks[target] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(target)
            if users > 1:
                self._locks[target] = (lock, users - 1)
