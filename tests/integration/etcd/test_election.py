"""Elections on real etcd: one leads, the next follows, and nobody leads without knowing that it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from mft.aio import boottime
from mft.errors import LeadershipLost
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.etcd.election import Election, Leadership
from mft.etcd.keeper import LeaseKeeper, lease_held
from mft.etcd.lease import lease_hex
from mft.etcd.ops import Put
from tests.rig.binaries import find_etcd
from tests.rig.etcd import Etcd
from tests.rig.waiting import eventually, on_this_machine

TTL_S = 20
"""Long enough that no lease ends by itself on a machine where everything is slow."""
SHORT_TTL_S = 2
"""Where its end is waited for."""


class Runner:
    """A candidate: leads whenever it may, and remembers its leaderships."""

    def __init__(self, client: EtcdClient, prefix: str, name: str, ttl_s: int = TTL_S) -> None:
        self.name = name
        self.client = client
        self.keeper = LeaseKeeper(client.leases, ttl_s)
        self.election = Election(client, self.keeper, prefix=prefix, value=name.encode())
        self.terms: list[Leadership] = []
        self.now: Leadership | None = None
        self.stop = asyncio.Event()

    async def leads(self) -> Leadership:
        """Wait until it leads."""
        await eventually(lambda: self.now)
        assert self.now is not None
        return self.now

    async def run(self) -> None:
        """Campaign until told to stop, in order."""
        async with beside(self.keeper.run(), name=f"keeper:{self.name}"):
            await lease_held(self.keeper)
            while not self.stop.is_set():
                async with self.election.campaign() as leadership:
                    self.terms.append(leadership)
                    self.now = leadership
                    async with asyncio.TaskGroup() as tasks:
                        ends = [
                            tasks.create_task(leadership.lost.wait(), name="lost"),
                            tasks.create_task(self.stop.wait(), name="stop"),
                        ]
                        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                        for task in ends:
                            task.cancel()
                    self.now = None


@asynccontextmanager
async def running(etcd: Etcd, prefix: str, names: str, ttl_s: int = TTL_S) -> AsyncIterator[list[Runner]]:
    """One runner for each letter of `names`, each with a client and lease of its own, in that order."""
    async with AsyncExitStack() as stack:
        runners: list[Runner] = []
        for name in names:
            client = await stack.enter_async_context(EtcdClient([etcd.endpoint]))
            runner = Runner(client, prefix, name, ttl_s)
            await stack.enter_async_context(beside(runner.run(), name=f"runner:{name}"))
            expected = len(runners) + 1

            async def campaigning(runner: Runner = runner, expected: int = expected) -> bool:
                return len(await runner.election.candidates()) == expected

            await eventually(campaigning)
            runners.append(runner)
        yield runners


async def test_three_candidates_resign_and_die_in_turn(each_etcd: Etcd, prefix: str) -> None:
    """Goal: the oldest leads; resignation and a lease's end hand over. Method: A resigns, B's lease is revoked."""
    async with running(each_etcd, prefix, "abc") as (a, b, c):
        await eventually(lambda: a.now)
        assert (b.now, c.now) == (None, None)
        assert [one.value for one in await c.election.candidates()] == [b"a", b"b", b"c"]
        begun_s = boottime()
        a.stop.set()
        await eventually(lambda: b.now)
        assert boottime() - begun_s < min(on_this_machine(1.0), TTL_S / 2)
        assert b.now is not None
        b.now.check()
        assert b.now.key == f"{prefix}/{lease_hex(b.now.lease_id)}"
        assert b.now.create_revision > a.terms[0].create_revision
        # The lease of a leader ends behind its back: it learns of that, and the next one leads.
        await c.client.leases.revoke(b.now.lease_id)
        await eventually(lambda: c.now)
        await eventually(lambda: b.now is None)
        assert b.terms[0].lost.is_set()
        with pytest.raises(LeadershipLost):
            b.terms[0].check()
        late = await b.client.kv.txn(when=[b.terms[0].fence], then=[Put(f"{prefix}-work", b"late")])
        assert not late.succeeded
        assert c.now is not None
        assert (await c.client.kv.txn(when=[c.now.fence], then=[Put(f"{prefix}-work", b"right")])).succeeded


async def test_a_candidate_that_dies_in_the_middle_wakes_its_follower(etcd: Etcd, prefix: str) -> None:
    """Goal: losing one's predecessor is not winning. Method: of A, B, C kill B's lease; C goes on waiting, for A."""
    async with running(etcd, prefix, "abc", ttl_s=8) as (a, b, c):
        await eventually(lambda: a.now)
        b.stop.set()
        await c.client.leases.revoke(b.keeper.state.value.lease_id)
        await eventually(lambda: b.keeper.grants >= 2)
        assert c.now is None
        a.stop.set()
        await eventually(lambda: c.now or b.now)
        assert c.now


async def test_etcds_own_election_is_the_same_one(each_etcd: Etcd, prefix: str) -> None:
    """Goal: no dialect here either. Method: etcdctl leads first and ours waits; etcdctl stops, ours leads."""
    process = await asyncio.create_subprocess_exec(
        *(find_etcd("etcdctl", each_etcd.version), f"--endpoints={each_etcd.endpoint}", "elect", prefix, "theirs"),
        env=os.environ | {"ETCDCTL_API": "3"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(40):
            assert (await process.stdout.readline()).startswith(prefix.encode() + b"/")
        async with EtcdClient([each_etcd.endpoint]) as client:
            runner = Runner(client, prefix, "ours")
            async with beside(runner.run(), name="runner"):

                async def both() -> bool:
                    return [one.value for one in await runner.election.candidates()] == [b"theirs", b"ours"]

                await eventually(both)
                assert runner.now is None
                process.send_signal(signal.SIGINT)
                await eventually(lambda: runner.now)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_leader_outlives_restart_and_compaction(each_etcd: Etcd, prefix: str) -> None:
    """Goal: an etcd restart within the TTL, and compaction, cost no leadership. Method: both, then a hand-over."""
    async with running(each_etcd, prefix, "ab", ttl_s=15) as (a, b):
        leadership = await a.leads()
        await each_etcd.restart()
        for number in range(5):
            revision = (await a.client.kv.put(f"{prefix}-noise", str(number).encode(), idempotent=True)).header.revision
        await a.client.kv.compact(revision)
        before_s = leadership.deadline_s
        await eventually(lambda: leadership.deadline_s > before_s, 40)
        leadership.check()
        assert b.now is None
        a.stop.set()
        await eventually(lambda: b.now)


async def test_leader_stops_itself_when_etcd_is_away(own_etcd: Etcd, prefix: str) -> None:
    """Goal: without etcd nobody can prove leadership. Method: freeze etcd; lost by the deadline; later leads anew."""
    async with running(own_etcd, prefix, "a", ttl_s=SHORT_TTL_S) as (a,):
        leadership = await a.leads()
        own_etcd.pause()
        try:
            deadline_s = leadership.deadline_s
            await eventually(leadership.lost.is_set)
            assert boottime() < deadline_s + SHORT_TTL_S / 3 + on_this_machine(0.5)
            with pytest.raises(LeadershipLost, match=r"could not be renewed|stood still"):
                leadership.check()
        finally:
            own_etcd.resume()
        await eventually(lambda: len(a.terms) >= 2)
        assert a.terms[1].create_revision > a.terms[0].create_revision
