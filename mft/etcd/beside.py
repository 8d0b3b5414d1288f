"""A task that lives as long as a block does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from mft.aio import cancellations, give_way


@asynccontextmanager
async def beside(work: Coroutine[object, object, None], *, name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` beside the block: it is cancelled and awaited when the block ends; if it fails, so does the block.

    Errors come out as they are, not wrapped in a group, unless both sides failed.
    """
    since = cancellations()
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work, name=name)
            try:
                yield task
            finally:
                task.cancel()
    except BaseExceptionGroup as group:
        give_way(since)
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
