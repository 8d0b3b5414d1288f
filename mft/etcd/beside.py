"""A task that lives as long as a block does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from mft.aio import cancellations, give_way


@asynccontextmanager
async def beside(work: Coroutine[object, object, None], *, name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` beside the block: it is cancelled and awaited when the block ends; if it fails, so does the block.

    Errors come out as they are, not wrapped in a group; if both sides failed, it is the block's.
    """
    since = cancellations()
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work, name=name)
            try:
                yield task
            except BaseException as error:
                failure = error
                raise
            finally:
                task.cancel()
                # Here and not in the group's own wait: what fails there leaves this task marked as cancelled, in Python
                # 3.11, and `give_way` could not tell that from a cancellation.
                await asyncio.wait([task])
    except BaseExceptionGroup as group:
        give_way(since)
        if isinstance(failure, Exception):
            raise failure from None
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
