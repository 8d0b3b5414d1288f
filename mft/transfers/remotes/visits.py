"""Blocking calls on threads, several to a visit: what is asked for while one is under way goes together in the next.

A visit to a thread costs more than a rename on a quick disk, a call on storage that is far away much more than a visit.
So by what calls have taken lately, quick ones share few visits and slow ones are made side by side.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_VISIT_S = 0.002
"""As many calls share a visit as take about so long."""
_ASIDE_S = 0.0001
"""For each such time that calls take on average, one more visit may be under way."""
_CALL_S_FIRST = 20e-6
_WEIGHT = 0.1
"""Of the newest visit in what a call is taken to last."""


class Visit(asyncio.Future[T]):
    """The outcome of a call on a thread. A task that is cancelled waits for it all the same, and ends then.

    A descriptor closed under a running call may be given to another file, which the call would then change.
    """

    job: Future[None] | None = None
    """What a thread is to do, where that is this call alone."""
    on_cancel: Callable[[], None] | None = None
    """Told when the task is cancelled: what has not begun need not be waited for."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Refuse: the thread cannot be stopped. The task is told at its next step, which is when this is done."""
        if self.on_cancel is not None:
            self.on_cancel()
        return self.cancelled()

    def drop(self) -> None:
        """Have the call not made, if no thread has it yet. Its callback then gives up the visit."""
        if self.job is not None:
            self.job.cancel()

    def give_up(self) -> None:
        """Cancel a call that was never begun."""
        super().cancel()


_Call = tuple[Callable[[], Any], Visit[Any]]
_Outcome = tuple[Any, BaseException | None]


class Visits:
    """Runs blocking calls, at most `threads_max` at one time, so that a stalled disk never stops the loop."""

    def __init__(self, threads_max: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads_max, thread_name_prefix=name)
        self._threads_max = threads_max
        self._calls: list[_Call] = []
        self._call_s = _CALL_S_FIRST
        self._visits = 0
        self._is_due = False
        self._is_closed = self._has_thread = False
        self._without_job: list[list[_Call]] = []
        """What was asked for while no more threads could start. It waits for those that there are."""
        self._queued = deque[None]()
        """One for each visit that no thread has yet. Threads take from it, so it is no number."""

    @property
    def is_crowded(self) -> bool:
        """Whether a visit waits for a thread: a call that could go on for long should make room. May be asked there."""
        return bool(self._queued)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a short `call` returns. Cancelling waits until it is over: its descriptors are in use till then.

        Calls of one turn may be made one after the other, or at the same time, in any order.
        """
        loop = asyncio.get_running_loop()
        future: Visit[T] = Visit(loop=loop)
        self._calls.append((partial(call, *args, **kwargs), future))
        self._send_soon(loop)
        return await future

    async def run_all(self, calls: Sequence[Callable[[], T]], *, alone: bool = False) -> list[T]:
        """Make all these calls and return what they return, in their order; with `alone` each is a visit of its own.

        Cancelling waits for those that were begun; the others are not made.
        """
        loop = asyncio.get_running_loop()
        if alone:
            visits = [self.begin(call) for call in calls]
        else:
            visits = [Visit(loop=loop) for _ in calls]
            self._calls += zip(calls, visits, strict=True)
            self._send_soon(loop)
        for visit in visits:
            visit.on_cancel = partial(self._give_up, visits)
        try:
            return [await visit for visit in visits]
        except BaseException:
            self._give_up(visits)
            if running := [visit for visit in visits if not visit.done()]:
                await asyncio.wait(running)
            for visit in visits:
                if not visit.cancelled():
                    visit.exception()  # Looked at: one error or the cancellation is told, not all.
            raise

    async def run_alone(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call returns that may take long: a visit of its own."""
        return await self.begin(call, *args, **kwargs)

    def begin(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Visit[T]:
        """Begin a call that may take long, to be waited for later."""
        loop = asyncio.get_running_loop()
        future: Visit[T] = Visit(loop=loop)
        future.job = self._submit(loop, [(partial(call, *args, **kwargs), future)], counts=False)
        return future

    def close(self) -> None:
        """Take no further call and do not wait for those that hang. Those that have not begun are cancelled."""
        self._is_closed = True
        calls, self._calls = self._calls, []
        _cancel(calls)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for calls in self._without_job:
            _cancel([call for call in calls if not call[1].done()])

    def _give_up(self, visits: Sequence[Visit[Any]]) -> None:
        """Leave out those of these calls that have not begun."""
        given_up = set(visits)
        left, self._calls = self._calls, []
        for call in left:
            if call[1] in given_up:
                call[1].give_up()
            else:
                self._calls.append(call)
        for visit in visits:
            visit.drop()

    def _send_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._calls and not self._is_due and self._visits < self._visits_max():
            self._is_due = True
            loop.call_soon(self._send, loop)

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = False
        size = max(1, int(_VISIT_S / self._call_s))
        while self._calls and self._visits < self._visits_max():
            calls, self._calls = self._calls[:size], self._calls[size:]
            self._visits += 1
            self._submit(loop, calls, counts=True)

    def _visits_max(self) -> int:
        return max(1, min(self._threads_max, int(self._call_s / _ASIDE_S)))

    def _submit(self, loop: asyncio.AbstractEventLoop, calls: list[_Call], *, counts: bool) -> Future[None] | None:
        """Have a thread make these calls; None if they are settled already, or cannot be taken back."""
        self._queued.append(None)
        try:
            job = self._pool.submit(self._visit, loop, calls, counts)
        except RuntimeError as error:
            if self._is_closed:  # In this very turn.
                self._queued.pop()
                self._visits -= counts
                _cancel(calls)
            elif not self._has_thread:
                # The pool has them in its queue, for a thread that starts later: by then they must not be made.
                self._visits -= counts
                taken, calls[:] = calls[:], []
                for _, visit in taken:
                    visit.set_exception(OSError(errno.EAGAIN, f"{error}: is the number of tasks limited?"))
            else:
                self._without_job.append(calls)
            return None
        self._has_thread = True
        job.add_done_callback(partial(self._if_cancelled, calls))
        return job

    def _visit(self, loop: asyncio.AbstractEventLoop, calls: list[_Call], counts: bool) -> None:
        """Make the calls. Runs in a thread."""
        self._queued.pop()
        if not calls:
            return
        began = time.perf_counter()
        outcomes: list[_Outcome] = []
        for call, _ in calls:
            try:
                outcomes.append((call(), None))
            except BaseException as error:
                outcomes.append((None, error))
        took_s = time.perf_counter() - began
        try:
            loop.call_soon_threadsafe(self._settle, calls, outcomes, took_s if counts else None)
        except RuntimeError:
            pass  # The loop has ended, and everybody who waited with it.

    def _if_cancelled(self, calls: list[_Call], job: Future[None]) -> None:
        if job.cancelled():  # By `close` or `drop`, so on the loop's thread.
            self._queued.pop()
            _cancel(calls)

    def _settle(self, calls: list[_Call], outcomes: list[_Outcome], took_s: float | None) -> None:
        if self._without_job:
            self._without_job = [waiting for waiting in self._without_job if waiting is not calls]
        if took_s is not None:
            self._visits -= 1
            self._send_soon(asyncio.get_running_loop())
            self._call_s += _WEIGHT * (took_s / len(calls) - self._call_s)
        for (_, future), (result, error) in zip(calls, outcomes, strict=True):
            # They know the visit, and would hold its outcome until garbage is looked for.
            future.job = future.on_cancel = None
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _cancel(calls: list[_Call]) -> None:
    for _, future in calls:
        future.give_up()
