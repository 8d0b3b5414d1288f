"""Blocking calls on threads: together where they are quick, side by side where they are slow, never cut off."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from mft.transfers.remotes.visits import Visits
from tests.rig.waiting import eventually


@pytest.fixture
def visits() -> Iterator[Visits]:
    made = Visits(8, "test-visits")
    yield made
    made.close()


async def test_each_caller_gets_its_own_outcome(visits: Visits) -> None:
    """Goal: calls that share a visit share nothing else. Method: 200 at once, every third fails."""

    def call(number: int) -> int:
        if number % 3 == 0:
            raise ValueError(number)
        return number

    results = await asyncio.gather(*(visits.run(call, number) for number in range(200)), return_exceptions=True)
    for number, result in enumerate(results):
        assert (isinstance(result, ValueError) and result.args == (number,)) if number % 3 == 0 else result == number


async def test_quick_calls_share_a_thread(visits: Visits) -> None:
    """Goal: a hundred renames cost no hundred visits. Method: count the threads that were used."""
    threads = await asyncio.gather(*(visits.run(threading.get_ident) for _ in range(100)))
    assert len(set(threads)) == 1


async def test_slow_calls_are_made_side_by_side(visits: Visits) -> None:
    """Goal: storage that answers slowly is asked in parallel. Method: calls of 5 ms; soon several run at one time."""
    running, most = 0, 0

    def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.005)
        running -= 1

    for _ in range(6):
        await asyncio.gather(*(visits.run(slow) for _ in range(16)))
    assert most > 2


async def test_a_cancelled_call_is_waited_for(visits: Visits) -> None:
    """Goal: no descriptor is closed under a running call. Method: cancel while the thread is held up."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def held_up() -> None:
        begun.set()
        go_on.wait(30)
        ended.set()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(visits.run(held_up), name="held-up")
        await eventually(begun.is_set, what="the call has begun")
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
    assert ended.is_set()
    assert task.cancelled()


async def test_calls_that_have_not_begun_end_with_the_visits(visits: Visits) -> None:
    """Goal: nobody waits for a thread that never comes. Method: close while calls wait behind one that hangs."""
    begun, go_on = threading.Event(), threading.Event()

    def held_up() -> None:
        begun.set()
        go_on.wait(30)

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(visits.run(held_up), name="first")
        await eventually(begun.is_set, what="the call has begun")
        others = asyncio.gather(*(visits.run(int) for _ in range(5)), return_exceptions=True)
        await asyncio.sleep(0)
        visits.close()
        go_on.set()
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in await others)
    assert first.done()


async def test_calls_made_together_are_all_waited_for(visits: Visits) -> None:
    """Goal: one failure or a cancellation leaves no call running. Method: one fails or is cancelled, one hangs."""
    assert await visits.run_all([int, str, list]) == [0, "", []]
    for is_cancelled in (False, True):
        begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def fails() -> None:
            raise ValueError

        def held_up(begun: threading.Event, go_on: threading.Event, ended: threading.Event) -> None:
            begun.set()
            go_on.wait(30)
            ended.set()

        calls = [int if is_cancelled else fails, partial(held_up, begun, go_on, ended)]
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(outcome(visits, calls), name="calls")
            await eventually(begun.is_set, what="the call has begun")
            if is_cancelled:
                task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            go_on.set()
        assert ended.is_set()
        assert task.cancelled() if is_cancelled else task.result() is ValueError


@pytest.mark.parametrize("alone", [False, True])
async def test_calls_that_have_not_begun_are_left_out_when_cancelled(visits: Visits, alone: bool) -> None:
    """Goal: a run that is cancelled ends soon. Method: every thread is held up, a hundred calls wait behind them."""
    begun, go_on, made = threading.Event(), threading.Event(), 0

    def held_up() -> None:
        begun.set()
        go_on.wait(30)

    def count() -> None:
        nonlocal made
        made += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(visits.run_alone(held_up), name=f"held-up:{number}")
        await eventually(begun.is_set, what="the threads are held up")
        task = tasks.create_task(visits.run_all([count] * 100, alone=alone), name="calls")
        other = tasks.create_task(visits.run(int), name="other")
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
    assert task.cancelled()
    assert other.result() == 0
    assert made < 100 if alone else made in {0, 100}


async def outcome(visits: Visits, calls: Sequence[Callable[[], object]]) -> object:
    """Make the calls; return what they return, or the type of the error."""
    try:
        return await visits.run_all(calls)
    except ValueError as error:
        return type(error)


class Content:
    """What a call gives."""


@pytest.mark.parametrize("together", [True, False])
async def test_nothing_holds_an_outcome(visits: Visits, together: bool) -> None:
    """Goal: content is let go with its last user. Method: look without the garbage collector's help."""
    may_end = threading.Event()

    def give() -> Content:
        assert may_end.wait(20)
        return Content()

    gc.disable()
    try:
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        content = (await visits.run_all([give]))[0] if together else await visits.begin(give)
        kept = weakref.ref(content)
        del content
        await eventually(lambda: kept() is None, 10, what="it is let go")
    finally:
        gc.enable()


async def test_without_a_thread_a_call_fails_and_is_not_made_later(
    visits: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: where the system allows no more tasks, calls fail and none hangs. Method: threads that do not start."""
    made: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse_to_start)
        for run in (visits.run, visits.run_alone, visits.run):
            with pytest.raises(OSError, match="can't start new thread"):
                await run(made.append, "early")
    async with asyncio.timeout(30):
        for number in range(3):
            await visits.run(made.append, str(number))
            await visits.run_alone(made.append, str(number))
    assert made == ["0", "0", "1", "1", "2", "2"]
    assert not visits.is_crowded


async def test_with_a_thread_a_call_waits_for_it(visits: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the same, where there are threads already. Method: the only one is busy, and no other starts."""
    may_go_on, made = threading.Event(), list[str]()
    busy = visits.begin(may_go_on.wait, 30)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse_to_start)
        waiting = visits.begin(made.append, "later")
    assert visits.is_crowded
    may_go_on.set()
    async with asyncio.timeout(30):
        await busy
        await waiting
    assert made == ["later"]
    assert not visits.is_crowded


async def test_what_waits_without_a_thread_of_its_own_ends_at_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: nobody waits for what is given up. Method: the only thread is busy, no other starts, and then it closes."""
    visits, may_go_on = Visits(8, "test-visits"), threading.Event()
    busy = visits.begin(may_go_on.wait, 30)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse_to_start)
        waiting = visits.begin(may_go_on.wait, 30)
    visits.close()
    assert waiting.cancelled()
    may_go_on.set()
    async with asyncio.timeout(30):
        await busy


def _refuse_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
