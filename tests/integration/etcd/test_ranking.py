"""Better and worse candidates on real etcd: the best one that is there leads, and a steady leader is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.etcd.election import Candidate, Election, Leadership
from mft.etcd.keeper import LeaseKeeper, lease_held
from tests.rig.etcd import Etcd
from tests.rig.waiting import eventually

LIMIT_S = 30.0


class Contender:
    """A candidate that knows an order, best first; it leads until it is told to resign, and then stands again."""

    def __init__(self, client: EtcdClient, prefix: str, name: str, order: str, ttl_s: int) -> None:
        self.name = name
        self.order = order
        self.asked = 0
        self.terms: list[Leadership] = []
        self.keeper = LeaseKeeper(client.leases, ttl_s)
        self.client = client
        self.election = Election(client, self.keeper, prefix=prefix, value=name.encode(), prefer=self._prefer)

    @property
    def leads(self) -> bool:
        """Whether it leads now."""
        return self.election.leadership is not None

    async def run(self) -> None:
        """Campaign, again and again."""
        async with beside(self.keeper.run(), name=f"keeper:{self.name}"):
            await lease_held(self.keeper)
            while True:
                async with self.election.campaign() as leadership:
                    self.terms.append(leadership)
                    await leadership.lost.wait()

    async def _prefer(self, own: Candidate, waiting: Sequence[Candidate]) -> Candidate | None:
        self.asked += 1
        best = min(waiting, key=lambda one: self.order.index(one.value.decode()))
        return best if self.order.index(best.value.decode()) < self.order.index(own.value.decode()) else None


@asynccontextmanager
async def contending(
    etcd: Etcd, prefix: str, orders: dict[str, str], ttl_s: int = 10
) -> AsyncIterator[list[Contender]]:
    """Run one contender for each name, with its idea of the order, so that they stand in the order given."""
    async with AsyncExitStack() as stack:
        contenders: list[Contender] = []
        for name, order in orders.items():
            client = await stack.enter_async_context(EtcdClient([etcd.endpoint]))
            one = Contender(client, prefix, name, order, ttl_s)
            await stack.enter_async_context(beside(one.run(), name=f"contender:{name}"))
            expected = len(contenders) + 1

            async def standing(one: Contender = one, expected: int = expected) -> bool:
                return len(await one.election.candidates()) == expected

            await eventually(standing, LIMIT_S)
            if not contenders:
                # It stands before it knows that it leads: meanwhile it could let one go first that comes.
                await eventually(lambda one=one: one.leads, LIMIT_S)  # type: ignore[misc]
            contenders.append(one)
        yield contenders


def _resign(one: Contender) -> None:
    assert one.election.leadership is not None
    one.election.leadership.end("told to")


async def test_the_best_of_those_that_wait_leads(etcd: Etcd, prefix: str) -> None:
    """Goal: at each election the best one that is there wins. Method: the leader resigns; then the best one does."""
    async with contending(etcd, prefix, dict.fromkeys("abcd", "dcba")) as (a, b, c, d):
        await eventually(lambda: a.leads, LIMIT_S)  # It was alone then; who comes later does not disturb it.
        assert [len(one.terms) for one in (a, b, c, d)] == [1, 0, 0, 0]
        _resign(a)
        await eventually(lambda: d.leads, LIMIT_S)
        assert [len(one.terms) for one in (a, b, c, d)] == [1, 0, 0, 1]
        asked = [one.asked for one in (a, b, c, d)]
        assert max(asked) <= 3, "each lets another go first once or twice, not for ever"
        _resign(d)
        await eventually(lambda: d.terms[0].lost.is_set() and any(one.leads for one in (a, b, c, d)), LIMIT_S)
        # It stands again at once, maybe too late to be seen; then the next best one leads.
        assert c.leads or d.leads


async def test_who_cannot_agree_still_elects(etcd: Etcd, prefix: str) -> None:
    """Goal: candidates with different configs do not let each other go first for ever. Method: all prefer others."""
    async with contending(etcd, prefix, {"a": "cba", "b": "cab", "c": "abc"}) as contenders:
        first = next(one for one in contenders if one.name == "a")
        await eventually(lambda: first.leads, LIMIT_S)
        for _ in range(3):
            leader = next(one for one in contenders if one.leads)
            before = sum(len(one.terms) for one in contenders)
            _resign(leader)
            await eventually(lambda before=before: sum(len(one.terms) for one in contenders) > before, LIMIT_S)  # type: ignore[misc]
            await eventually(lambda: any(one.leads for one in contenders), LIMIT_S)
        assert max(one.asked for one in contenders) <= 12


async def test_leads_again_before_its_old_lease_has_ended(own_etcd: Etcd, prefix: str) -> None:
    """Goal: after an outage nobody waits for a key of his own. Method: etcd dies until the lease is lost, and returns.

    An etcd that starts gives every lease its full time again, so the old key would stand ahead for that long.
    """
    async with contending(own_etcd, prefix, {"a": "a"}, ttl_s=6) as (a,):
        await eventually(lambda: a.leads, LIMIT_S)
        old = a.terms[0]
        own_etcd.kill()
        await eventually(lambda: not a.leads, LIMIT_S)
        await own_etcd.start()
        await eventually(lambda: a.leads, LIMIT_S)
        assert a.terms[-1].create_revision > old.create_revision
        assert (await a.client.leases.time_to_live(old.lease_id)).left_s > 0, "it waited for the old lease"
        assert [one.lease_id for one in await a.election.candidates()] == [a.terms[-1].lease_id]
