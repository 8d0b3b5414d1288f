"""What asyncio lacks for this program: a value readers always see fresh, a clock that suspends cannot fool, backoff.

Nothing here knows of files, networks or config.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


def boottime() -> float:
    """Seconds on CLOCK_BOOTTIME: it goes on during suspend, and the wall clock's jumps do not touch it.

    Every deadline of a lease is on this clock. It is one clock for all processes of a host, so a deadline may travel
    from agent to worker.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Latest(Generic[T]):
    """A value that changes, of which only the newest matters: read `value` at each use, or follow its changes."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._serial = 0
        self._changed = asyncio.Event()

    @property
    def value(self) -> T:
        """The newest value. Do not keep it: read it again at the next use."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake every follower. Never waits."""
        self._value = value
        self._serial += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def follow(self, every_s: float | None = None) -> AsyncGenerator[T, None]:
        """Yield the present value, then the newest one after each change, skipping those that were overtaken.

        With `every_s` also yield when that many seconds passed without a change: a reconciler wakes on change *and*
        by the clock, so that a missed or failed step heals.
        """
        while True:
            serial, changed = self._serial, self._changed
            yield self._value
            if self._serial == serial:
                try:
                    async with asyncio.timeout(every_s):
                        await changed.wait()
                except TimeoutError:
                    pass


def backoff(first_s: float, most_s: float, *, rng: random.Random | None = None) -> Iterator[float]:
    """Yield waits in seconds for ever: full jitter under a ceiling that doubles from `first_s` to `most_s`.

    Full jitter, because many nodes lose the same etcd at the same moment and must not come back in step.
    """
    draw = (rng or random.Random()).uniform
    ceiling = first_s
    while True:
        yield draw(ceiling / 10, ceiling)
        ceiling = min(most_s, ceiling * 2)


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the first error inside nested groups: several tasks failed, and one line is to say why."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def is_only(group: BaseExceptionGroup[BaseException], *kinds: type[BaseException]) -> bool:
    """Say whether all errors inside nested groups are of these kinds.

    For `except BaseExceptionGroup`, where one error is to be raised instead of the group: what is raised inside an
    `except*` comes out wrapped in a group again in Python 3.11 before 3.11.4, which is Debian 12's.
    """
    return group.split(kinds)[1] is None


def cancellations() -> int:
    """Count how often this task was told to end; to be given to `give_way` later."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def give_way(since: int) -> None:
    """Raise `CancelledError` if this task was told to end, and more often than `since`.

    For places where a cancellation can get lost, so that who tries again after errors would never end: a task group
    whose child failed at the same moment raises the child's error; a call of grpc.aio that ended at the same moment
    returns its outcome.
    """
    if cancellations() > since:
        raise asyncio.CancelledError


async def cancel_and_wait(*tasks: asyncio.Task[object]) -> None:
    """Cancel the tasks and wait until each has ended; their results and errors are not looked at."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


class Threads:
    """Runs blocking calls, at most `threads_max` at one time, so that a stalled disk never stops the loop."""

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
