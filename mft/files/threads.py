"""The bounded pool on which blocking calls run, so that a stalled disk or file server never stops the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs blocking calls, at most `threads_max` at one time; more wait their turn."""

    def __init__(self, threads_max: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads_max, thread_name_prefix=name)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `call` returns. Cancelling waits until the call is over: its descriptors are in use till then."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # A descriptor closed under a running call may be given to another file, which the call would then change.
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # Looked at, so that the loop does not report it as forgotten.
            raise

    def close(self) -> None:
        """Take no further call and do not wait for those that hang."""
        self._pool.shutdown(wait=False, cancel_futures=True)
