"""Leaders that give way, on real etcd: who is asked, what decides, and that nothing goes to and fro."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from mft.agent.probes import Probes
from mft.agent.yielding import Yielding, YieldTimes
from mft.aio import Latest, boottime
from mft.cluster.keys import Keys
from mft.cluster.membership import Candidate, decode_yielded, encode
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.etcd.election import Election
from mft.etcd.keeper import LeaseKeeper, lease_held
from mft.events import catalogue
from mft.model.config import Config
from mft.model.leader_groups import LeaderGroupSpec
from mft.model.transfers import TransferSpec
from mft.worker.frames import Ran
from tests.rig.etcd import Etcd
from tests.rig.waiting import eventually

LIMIT_S = 30.0
TIMES = YieldTimes(look_s=0.05, again_first_s=0.3, again_most_s=0.6, back_look_s=0.1, back_s=0.5)


def _config(**group: Any) -> Config:
    def transfer(partner: str) -> TransferSpec:
        return TransferSpec(
            source_location="shared", source_path="out", destination_location=partner, destination_path="in"
        )

    spec = LeaderGroupSpec(**{"yield_after_s": 0.1, **group})
    return Config(transfers={"p": transfer("p"), "q": transfer("q")}, leader_groups={"default": spec})


class Instance:
    """What an agent has for this, without workers: which locations it reaches is what the test says."""

    def __init__(self, name: str, client: EtcdClient, keys: Keys, config: Latest[Config]) -> None:
        self.name = name
        self.reach = {"shared", "p", "q"}
        self.tried = 0
        self.events: list[dict[str, Any]] = []
        self.keeper = LeaseKeeper(client.leases, 10)
        probes = Probes(name=name, etcd=client, keys=keys, keeper=self.keeper, config=config, attempt=self._attempt)
        self.yielding = Yielding(
            name=name, etcd=client, keys=keys, config=config, probes=probes, emit=self._emit, times=TIMES
        )
        value, prefer = encode(Candidate(name=name, boot=name)), self.yielding.prefer("default")
        self.election = Election(client, self.keeper, prefix=keys.election("default"), value=value, prefer=prefer)
        self.yielding.watch_over("default", self.election)
        self._probes = probes

    @property
    def leads(self) -> bool:
        """Whether it leads now."""
        return self.election.leadership is not None

    def fails(self, location: str) -> None:
        """Let a pass fail at this location, a moment ago."""
        ran = Ran(run=1, error="no route", error_class="transient", location=location)
        self.yielding.passed("default", location, boottime() - 5, ran)

    async def run(self) -> None:
        """Do what an agent does of it."""
        async with (
            beside(self.keeper.run(), name="keeper"),
            beside(self._probes.run(), name="probes"),
            beside(self.yielding.run(), name="yielding"),
        ):
            await lease_held(self.keeper)
            while True:
                async with self.election.campaign() as leadership:
                    await leadership.lost.wait()

    async def _attempt(self, locations: Sequence[str], limit_s: float) -> frozenset[str]:
        self.tried += 1
        return frozenset(self.reach & set(locations))

    def _emit(self, id: int, fields: dict[str, Any]) -> None:
        assert id == catalogue.LEADERSHIP_YIELDED
        self.events.append(fields)


class Group:
    """The candidates of one group."""

    def __init__(self, endpoint: str, keys: Keys, stack: AsyncExitStack) -> None:
        self._endpoint = endpoint
        self.keys = keys
        self._stack = stack
        self.config = Latest(_config())
        self.client = EtcdClient([endpoint])

    async def add(self, name: str) -> Instance:
        """Add one, and wait until it leads or waits."""
        client = await self._stack.enter_async_context(EtcdClient([self._endpoint]))
        one = Instance(name, client, self.keys, self.config)
        before = len(await one.election.candidates())
        await self._stack.enter_async_context(beside(one.run(), name=f"instance:{name}"))

        async def stands() -> bool:
            return one.leads or len(await one.election.candidates()) > before > 0

        await eventually(stands, LIMIT_S, what=f"{name} stands")
        return one

    async def last(self) -> bytes | None:
        """Return why a leader gave way, if that still counts."""
        return (await self.client.kv.get(self.keys.probe_last("default"))).value


@pytest.fixture
async def group(etcd: Etcd, prefix: str) -> AsyncIterator[Group]:
    """Give a group without candidates."""
    async with AsyncExitStack() as stack:
        made = Group(etcd.endpoint, Keys(prefix), stack)
        await stack.enter_async_context(made.client)
        yield made


async def test_gives_way_to_the_one_that_reaches_most(group: Group) -> None:
    """Goal: not the next in the queue leads, but who reaches most, and all know why. Method: three reach 1, 2, 3."""
    a, b, c = [await group.add(name) for name in "abc"]
    a.reach, b.reach = {"shared"}, {"shared", "q"}
    a.fails("p")
    await eventually(lambda: c.leads, LIMIT_S)
    assert not a.leads
    value = await group.last()
    assert value is not None
    assert decode_yielded(value).reached == {"a": 1, "b": 2, "c": 3}
    assert [(event["leader_group"], event["to"]) for event in a.events] == [("default", "c")]
    assert "p cannot be reached from here" in a.events[0]["reason"]
    assert "a reaches 1, c 3" in a.events[0]["reason"]


async def test_does_not_give_way_twice_in_a_while_and_does_later(group: Group) -> None:
    """Goal: the pause holds for the whole group, over the change of leaders. Method: the new leader fails at once."""
    group.config.set(_config(yield_again_s=3.0))
    a, b = [await group.add(name) for name in "ab"]
    a.reach = {"shared", "q"}
    a.fails("p")
    await eventually(lambda: b.leads, LIMIT_S)
    a.reach, b.reach = {"shared", "p", "q"}, {"shared"}
    tried = a.tried
    b.fails("p")
    first = await group.last()
    while first is not None and await group.last() == first:  # On a lease of its own, which ends by itself.
        assert b.leads
        assert a.tried == tried, "asked in spite of the pause"
        await asyncio.sleep(0.1)
    await eventually(lambda: a.leads, LIMIT_S)


async def test_stays_where_nobody_reaches_more(group: Group) -> None:
    """Goal: a partner that is down for all moves nothing. Method: another reaches as much, but other partners."""
    a, b = [await group.add(name) for name in "ab"]
    a.reach, b.reach = {"shared", "q"}, {"shared", "p"}
    a.fails("p")
    await eventually(lambda: b.tried >= 2, LIMIT_S, what="asked more than once")
    assert a.leads
    assert await group.last() is None
    b.reach = {"shared", "p", "q"}
    await eventually(lambda: b.leads, LIMIT_S)


async def test_a_pass_that_works_again_asks_nobody(group: Group) -> None:
    """Goal: only what goes on failing counts, and only errors of the way there. Method: an error that is healed."""
    group.config.set(_config(yield_after_s=20.5))
    a, b = [await group.add(name) for name in "ab"]
    a.reach = {"shared"}
    a.fails("p")  # Five seconds old.
    a.yielding.passed("default", "p", boottime(), Ran(run=2, delivered=1))
    wrong = Ran(run=3, error="the login is refused", error_class="credentials", location="q")
    a.yielding.passed("default", "q", boottime() - 60, wrong)
    group.config.set(_config(yield_after_s=0.1))
    await asyncio.sleep(20 * TIMES.look_s)
    assert (a.leads, b.tried) == (True, 0)


async def test_a_preferred_one_gets_it_back_only_where_that_is_wished(group: Group) -> None:
    """Goal: a steady leader is left alone; with `prefer_back` the better one leads, once it reaches the partners."""
    group.config.set(_config(preferred=["b", "a"]))
    a = await group.add("a")
    b = await group.add("b")
    await asyncio.sleep(20 * TIMES.look_s)
    assert a.leads
    b.reach = {"shared", "q"}
    group.config.set(_config(preferred=["b", "a"], prefer_back=True))
    await eventually(lambda: b.tried, LIMIT_S, what="b is asked")
    await asyncio.sleep(5 * TIMES.look_s)
    assert a.leads
    b.reach = {"shared", "p", "q"}
    await eventually(lambda: b.leads, LIMIT_S)
    assert "is preferred" in a.events[-1]["reason"]
