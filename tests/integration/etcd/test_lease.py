"""Leases and their keeper against real etcd."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mft.aio import boottime
from mft.errors import NotFound
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.etcd.endpoints import CallTimes
from mft.etcd.keeper import LeaseKeeper, LeaseState, lease_held, margin_s
from tests.rig.etcd import Etcd
from tests.rig.waiting import eventually, on_this_machine

TTL_S = 2


@asynccontextmanager
async def keeping(etcd: Etcd, ttl_s: int = TTL_S) -> AsyncIterator[tuple[EtcdClient, LeaseKeeper]]:
    """A client and a keeper that runs beside the block."""
    async with EtcdClient([etcd.endpoint], times=CallTimes(call_s=2.0, attempt_s=0.5)) as client:
        keeper = LeaseKeeper(client.leases, ttl_s)
        async with beside(keeper.run(), name="keeper"):
            yield client, keeper


async def test_lease_ends_with_its_keys(etcd: Etcd, prefix: str) -> None:
    """Goal: grant, renew, look up, revoke and expiry work. Method: one lease revoked, one left alone."""
    async with EtcdClient([etcd.endpoint]) as client:
        one, two = await client.leases.grant(30), await client.leases.grant(TTL_S)
        await client.kv.put(f"{prefix}/one", b"", lease=one.id)
        await client.kv.put(f"{prefix}/two", b"", lease=two.id)
        assert await client.leases.renew(one.id) == 30
        details = await client.leases.time_to_live(one.id)
        assert (details.granted_s, details.keys) == (30, (f"{prefix}/one",))
        await client.leases.revoke(one.id)
        await client.leases.revoke(one.id)
        assert (await client.kv.get(f"{prefix}/one")).kv is None

        async def gone() -> bool:
            return (await client.kv.get(f"{prefix}/two")).kv is None

        await eventually(gone)
        with pytest.raises(NotFound):
            await client.leases.renew(two.id)
        with pytest.raises(NotFound):
            await client.leases.time_to_live(two.id)


async def test_keeper_outlives_its_ttl_and_revokes_nothing(etcd: Etcd, prefix: str) -> None:
    """Goal: the lease lives while the keeper runs, with a deadline ahead. Method: wait for longer, then stop it."""
    async with EtcdClient([etcd.endpoint]) as client:
        ttl_s = 4  # A loop that stands still for a quarter of it gives the lease up, as it should.
        keeper = LeaseKeeper(client.leases, ttl_s)
        async with beside(keeper.run(), name="keeper"):
            first = await lease_held(keeper)
            assert first.deadline_s <= boottime() + ttl_s - margin_s(ttl_s)
            await client.kv.put(f"{prefix}/alive", b"", lease=first.lease_id)
            end = time.monotonic() + 1.5 * ttl_s
            seen = set()
            async for state in keeper.state.follow(every_s=0.1):
                assert state.held(boottime())
                seen.add(state)
                if time.monotonic() > end:
                    break
            assert {state.lease_id for state in seen} == {first.lease_id}
            assert len(seen) >= 3
        assert not keeper.state.value.held(boottime())
        assert (await client.kv.get(f"{prefix}/alive")).kv is not None
        await client.leases.revoke(first.lease_id)


async def test_keeper_survives_a_short_restart_with_its_lease(each_etcd: Etcd) -> None:
    """Goal: a restart shorter than the TTL costs nothing. Method: SIGKILL and start; the same lease is renewed."""
    async with keeping(each_etcd, ttl_s=15) as (_, keeper):
        before = await lease_held(keeper)
        await each_etcd.restart()
        await eventually(lambda: keeper.state.value.deadline_s > before.deadline_s + 1, 60, what="renewed")
        assert keeper.state.value.lease_id == before.lease_id
        assert keeper.grants == 1


async def test_keeper_gives_up_in_time_and_takes_a_new_lease(own_etcd: Etcd) -> None:
    """Goal: no state is held past its deadline; afterwards a new lease. Method: freeze etcd for longer than the TTL."""
    states: list[tuple[float, LeaseState]] = []

    async def record(keeper: LeaseKeeper) -> None:
        async for state in keeper.state.follow():
            states.append((boottime(), state))

    async with keeping(own_etcd) as (client, keeper), beside(record(keeper), name="record"):
        before = await lease_held(keeper)
        await eventually(lambda: states[-1][1].lease_id)
        own_etcd.pause()
        try:
            await eventually(lambda: states[-1][1].why)
        finally:
            own_etcd.resume()
        late_s = on_this_machine(0.5)
        # Not renewed in time; or, on a busy machine, given up even before that.
        lost_at_s, _ = next(lost for lost in states if "renewed in time" in lost[1].why or "stood still" in lost[1].why)
        assert lost_at_s < max(state.deadline_s for _, state in states if state.lease_id == before.lease_id) + late_s
        after = await lease_held(keeper)
        assert after.lease_id != before.lease_id
        await client.leases.revoke(after.lease_id)
        await eventually(lambda: keeper.grants >= 3, what="a lease ended by others is noticed and replaced")


async def test_keeper_gives_up_after_the_loop_stood_still(etcd: Etcd) -> None:
    """Goal: a process that stood still does not go on as if nothing were. Method: block the loop for half a TTL."""
    async with keeping(etcd, ttl_s=4) as (_, keeper):
        before = await lease_held(keeper)
        whys: list[str] = []

        async def record() -> None:
            async for state in keeper.state.follow():
                whys.append(state.why)

        async with beside(record(), name="record"):
            await asyncio.sleep(0)
            time.sleep(1.5)  # noqa: ASYNC251 - to block is the point
            await eventually(lambda: keeper.grants >= 2)
        assert any("stood still for " in why for why in whys)
        assert keeper.state.value.lease_id != before.lease_id
