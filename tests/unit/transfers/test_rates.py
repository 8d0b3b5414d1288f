"""Bounds on bytes a second and on files at one time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mft.aio import boottime
from mft.model.locations import LocalLocationSpec, LocationSpec, SftpLocationSpec
from mft.model.transfer_parts import ArchiveSpec
from mft.model.transfers import TransferSpec
from mft.transfers.rates import Limits, Rate, Throttle, Throttles, Turns


def _partner(parallel_files_max: int = 0, bandwidth_bytes_s: int = 0, address: str = "h") -> SftpLocationSpec:
    return SftpLocationSpec(
        address=address,
        username="u",
        host_keys=("SHA256:x",),
        parallel_files_max=parallel_files_max,
        bandwidth_bytes_s=bandwidth_bytes_s,
    )


def _transfer(source: str, destination: str, archive: str | None = None, **changes: Any) -> TransferSpec:
    return TransferSpec(
        source_location=source,
        source_path="out",
        destination_location=destination,
        destination_path="in",
        archive=ArchiveSpec(location=archive, path="kept") if archive is not None else None,
        **changes,
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
    throttle = limits.throttles("t", _transfer("here", "partner"), {"here": LocalLocationSpec(), "partner": _partner()})
    began = boottime()
    for _ in range(1000):
        await throttle.send(2**40)
    assert boottime() - began < 10


async def test_a_partners_rate_is_shared_by_transfers() -> None:
    """Goal: the bound of a location is over all transfers. Method: two of them, each without a bound of its own."""
    places: dict[str, LocationSpec] = {"here": LocalLocationSpec(), "partner": _partner(bandwidth_bytes_s=100_000)}
    limits = Limits()
    one = limits.throttles("one", _transfer("here", "partner"), places)
    other = limits.throttles("other", _transfer("partner", "here"), places)
    began = boottime()
    for throttle in (one, other, one):
        await throttle.send(10_000)
    assert boottime() - began >= 0.2 * 0.99


@pytest.mark.parametrize(
    ("limited", "bounded"),
    [
        ("source", {"send", "archive"}),
        ("destination", {"send", "read_back"}),
        ("archive", {"archive"}),
        ("transfer", {"send", "read_back", "archive"}),
        ("", set[str]()),
    ],
)
async def test_each_way_of_content_passes_its_own_limits(limited: str, bounded: set[str]) -> None:
    """Goal: read-back and archive copies keep to the limits of where they pass. Method: use up one limit for ever.

    A second transfer uses a location's limit up: a gigabyte of content there, where a byte a second may pass.
    """
    limits = Limits()
    places: dict[str, LocationSpec] = {
        id: _partner(0, id == limited, id) for id in ("source", "destination", "archive")
    }
    bytes_s = int(limited == "transfer")
    spec = _transfer("source", "destination", "archive", bandwidth_bytes_s=bytes_s)
    if limited in places:
        await limits.throttles("other", _transfer(limited, limited), places).read_back(10**9)
    elif limited:
        await limits.throttles("t", spec, places).send(10**9)
    throttles = limits.throttles("t", spec, places)
    assert {way for way in Throttles._fields if await _waits(getattr(throttles, way))} == bounded


async def test_a_partner_that_content_comes_from_and_goes_to_counts_both_ways() -> None:
    """Goal: the limit is of bytes to and from a partner. Method: its archive is at the source; count what is taken."""
    limits = Limits()
    places: dict[str, LocationSpec] = {"here": LocalLocationSpec(), "partner": _partner(bandwidth_bytes_s=100_000)}
    throttles = limits.throttles("t", _transfer("partner", "here", ""), places)
    began = boottime()
    await throttles.archive(10_000)
    await throttles.send(0)
    assert boottime() - began >= 0.2 * 0.99


async def _waits(throttle: Throttle) -> bool:
    """Say whether one byte more has to wait."""
    try:
        async with asyncio.timeout(0):  # What need not wait comes back before the loop could look at the clock.
            await throttle(1)
    except TimeoutError:
        return True
    return False


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
    there: dict[str, LocationSpec] = {"a": _partner(1, address="a"), "b": _partner(1, address="b")}
    back: dict[str, LocationSpec] = {"b": _partner(1, address="b"), "a": _partner(1, address="a")}
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


async def test_locations_of_one_server_share_its_turns() -> None:
    """Goal: the bound is the server's. Method: two accounts with different bounds, one without, and from it to itself.

    Whoever comes with the lower bound waits until fewer are inside; who has none does not count.
    """
    limits, inside = Limits(), list[str]()
    leave = {name: asyncio.Event() for name in ("a", "b", "low", "both", "free")}

    async def go(name: str, *places: LocationSpec) -> None:
        async with limits.turn(0, {str(number): place for number, place in enumerate(places)}):
            inside.append(name)
            await leave[name].wait()
        inside.remove(name)

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for name, places in {
            "a": [_partner(2)],
            "b": [_partner(2, address="H")],
            "free": [_partner(0)],
            "low": [_partner(1)],
            "both": [_partner(2), _partner(3)],
        }.items():
            tasks.create_task(go(name, *places), name=name)
            await asyncio.sleep(0)
        assert inside == ["a", "b", "free"]
        for left, then in (("a", ["b", "free"]), ("b", ["free", "low", "both"]), ("low", ["free", "both"])):
            leave[left].set()
            for _ in range(5):
                await asyncio.sleep(0)
            assert inside == then
        leave["both"].set()
        leave["free"].set()
