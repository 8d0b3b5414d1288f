"""A task beside a block: whoever fails or is cancelled first, the caller sees the one thing that matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mft.errors import Unavailable
from mft.etcd.beside import beside


async def _fail_when(told: asyncio.Event) -> None:
    await told.wait()
    raise Unavailable("the child failed")


async def _outcome(task: asyncio.Task[None]) -> type[BaseException] | None:
    try:
        async with asyncio.timeout(10):
            await task
    except (asyncio.CancelledError, Unavailable, BaseExceptionGroup) as error:
        return type(error)
    return None


async def test_a_child_that_fails_ends_the_block_with_its_error() -> None:
    """Goal: one error comes out as it is, not in a group. Method: a child that fails while the block waits."""
    told = asyncio.Event()

    async def block() -> None:
        async with beside(_fail_when(told), name="child"):
            told.set()
            await asyncio.Event().wait()

    with pytest.raises(Unavailable, match="the child failed"):
        await block()


@pytest.mark.parametrize("first", ["child", "block"])
@pytest.mark.parametrize("turns", range(3))
async def test_cancelled_at_the_moment_the_child_fails(first: str, turns: int) -> None:
    """Goal: a cancellation is never lost, or who tries again after errors would never end.

    Method: tell the child to fail and cancel the block, in both orders, with 0 to 2 turns of the loop between: so long
    the child's error is on its way to the block.
    """
    told = asyncio.Event()

    async def block() -> None:
        async with beside(_fail_when(told), name="child"):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(block(), name="block")
        await _turns(2)
        steps: list[Callable[[], object]] = [told.set, task.cancel]
        for step in steps if first == "child" else reversed(steps):
            step()
            await _turns(turns)
        assert await _outcome(task) is asyncio.CancelledError


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_tries_again_after_errors_can_be_ended() -> None:
    """Goal: the loop that the rule is for. Method: one that goes on after each failure of its child, cancelled then."""
    told, attempts = asyncio.Event(), 0

    async def persistent() -> None:
        nonlocal attempts
        while True:
            attempts += 1
            try:
                async with beside(_fail_when(told), name="child"):
                    await asyncio.Event().wait()
            except Unavailable:
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(persistent(), name="persistent")
        await _turns(2)
        told.set()
        task.cancel()
        assert await _outcome(task) is asyncio.CancelledError
    assert attempts == 1


async def test_a_time_limit_around_it_is_a_time_limit() -> None:
    """Goal: `asyncio.timeout` cancels too, and must be told from the caller's cancellation. Method: both at once."""
    told = asyncio.Event()

    async def limited() -> None:
        async with asyncio.timeout(None) as limit, beside(_fail_when(told), name="child"):
            await _turns(1)
            told.set()
            limit.reschedule(0)
            await asyncio.Event().wait()

    with pytest.raises((TimeoutError, Unavailable)):
        await limited()
