"""Bounds on bytes a second and on files at one time."""

from __future__ import annotations

import asyncio

from mft.aio import boottime
from mft.model.locations import LocalLocationSpec, LocationSpec, SftpLocationSpec
from mft.transfers.rates import Limits, Rate, Turns


def _partner(parallel_files_max: int = 0, bandwidth_bytes_s: int = 0) -> SftpLocationSpec:
    return SftpLocationSpec(
        address="h",
        username="u",
        host_keys=("SHA256:x",),
        parallel_files_max=parallel_files_max,
        bandwidth_bytes_s=bandwidth_bytes_s,
    )


async def test_a_rate_is_kept_by_all_together() -> None:
    """Goal: several files of one transfer share its rate. Method: three take 50 kB in pieces, at 300 kB a second."""
    rate, began = Rate(), boottime()

    async def send() -> None:
        for _ in range(10):
            await rate.take(5_000, 300_000)

    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(send(), name=f"send:{number}")
    # The last piece goes when those before it have had their time.
    assert boottime() - began >= 145_000 / 300_000 * 0.99


async def test_without_a_rate_nothing_waits() -> None:
    """Goal: 0 is as fast as it goes. Method: far more bytes than any rate would let through."""
    limits = Limits()
    throttle = limits.throttle("t", 0, {"here": LocalLocationSpec(), "partner": _partner()})
    began = boottime()
    for _ in range(1000):
        await throttle(2**40)
    assert boottime() - began < 10


async def test_a_partners_rate_is_shared_by_transfers() -> None:
    """Goal: the bound of a location is over all transfers. Method: two of them, each without a bound of its own."""
    limits, places = Limits(), {"partner": _partner(bandwidth_bytes_s=100_000)}
    one, other = limits.throttle("one", 0, places), limits.throttle("other", 0, places)
    began = boottime()
    for throttle in (one, other, one):
        await throttle(10_000)
    assert boottime() - began >= 0.2 * 0.99


async def test_who_has_more_priority_goes_first() -> None:
    """Goal: so many at one time, in order of priority, then of coming. Method: one inside, four waiting."""
    turns, order = Turns(), list[str]()
    leave = asyncio.Event()

    async def go(name: str, priority: int) -> None:
        async with turns.turn(1, priority):
            order.append(name)
            await leave.wait()

    async with asyncio.TaskGroup() as tasks:
        for name, priority in (("first", 0), ("low", -5), ("b", 1), ("c", 1), ("high", 9)):
            tasks.create_task(go(name, priority), name=name)
            await asyncio.sleep(0)
        assert order == ["first"]
        leave.set()
    assert order == ["first", "high", "b", "c", "low"]


async def test_one_that_is_cancelled_gives_its_turn_on() -> None:
    """Goal: no turn gets lost. Method: cancel one that waits, and one in the moment in which it is let in."""
    turns = Turns()
    inside = list[int]()

    async def go(number: int) -> None:
        async with turns.turn(1):
            inside.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        async with turns.turn(1):
            waiting = [tasks.create_task(go(number), name=str(number)) for number in range(4)]
            await asyncio.sleep(0)
            waiting[0].cancel()
        waiting[1].cancel()  # It has been let in, but has not run since.
    assert inside == [2, 3]
    async with asyncio.timeout(30), turns.turn(1):
        pass


async def test_opposite_transfers_do_not_wait_for_each_other_for_ever() -> None:
    """Goal: no deadlock between partners with one place each. Method: many files both ways."""
    limits = Limits()
    there: dict[str, LocationSpec] = {"a": _partner(1), "b": _partner(1)}
    back: dict[str, LocationSpec] = {"b": _partner(1), "a": _partner(1)}
    busy, most = 0, 0

    async def go(places: dict[str, LocationSpec]) -> None:
        nonlocal busy, most
        async with limits.turn(0, places):
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for number in range(40):
            tasks.create_task(go(there if number % 2 else back), name=str(number))
    assert most == 1
