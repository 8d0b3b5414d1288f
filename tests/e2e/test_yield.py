"""A machine is up, and its road to the partner is not: another node that reaches the partner takes over."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mft.cluster.membership import decode_yielded
from mft.etcd.client import EtcdClient
from mft.events import catalogue
from tests.e2e.cluster.deliveries import all_came_once, numbered, under_way
from tests.integration.etcd.relay import run_relay
from tests.rig.cluster import Cluster, Consumer, Eye
from tests.rig.netns import Networks, networks
from tests.rig.waiting import eventually

PROMISE_S = 60.0


@asynccontextmanager
async def _divided(folder: Path) -> AsyncIterator[tuple[Cluster, Networks]]:
    """Run a cluster whose nodes `a` and `b` are in networks of their own, with roads to etcd and to the partner."""
    with networks("ab", ["etcd", "partner"]) as nets:
        cluster = Cluster(folder)
        try:
            async with (
                run_relay(int(cluster.endpoint.rpartition(":")[2]), nets.addresses["etcd"]) as etcd,
                run_relay(cluster.partner.port, nets.addresses["partner"]) as partner,
            ):
                for name in "ab":
                    node = cluster.node(name, etcd=etcd.endpoint)
                    node.command = [*nets.enter(name), *node.command]
                await cluster.start("a")
                document = cluster.base()
                address, _, port = partner.endpoint.rpartition(":")
                document["locations"]["partner"] |= {"address": address, "port": int(port)}
                # Also one that is preferred, and wants back what it gave, waits until it reaches the partner again.
                document["leader-groups"] = {"default": {"preferred": ["a", "b"], "prefer_back": True}}
                await cluster.whole("a", version=await cluster.apply(document))
                yield cluster, nets
                cluster.kill()  # Before the relays end, which wait for their connections.
        finally:
            cluster.kill()


async def test_a_leader_cut_off_from_the_partner_gives_way(tmp_path: Path) -> None:
    """Goal: within a minute the node that reaches the partner leads; nothing is lost or doubled, nothing flaps.

    Method: two nodes in network namespaces; what the leader sends to the partner vanishes, amid deliveries, while etcd
    is reached all the time. A consumer takes files at once, so that one which came twice would show.
    """
    async with (
        _divided(tmp_path / "divided") as (cluster, nets),
        cluster.eye() as eye,
        Consumer(cluster.inbox, cluster.folder / "took").running() as consumer,
    ):
        assert await eye.leader() == "a"
        cluster.node("b").launch()
        await eventually(lambda: _stand(eye, "a", "b"), 60, what="b waits")
        before, while_cut = numbered("before", 60), numbered("cut", 20)
        cluster.give(*before)
        await under_way(consumer, 20)
        nets.cut("a", "partner")
        cut = time.monotonic()
        cluster.give(*while_cut)
        assert await eye.leader(not_="a", limit_s=PROMISE_S + 30) == "b"
        took_s = time.monotonic() - cut
        await all_came_once(cluster, eye, consumer, before + while_cut)
        assert await eye.candidates() == ["b", "a"], "a waits behind"
        print(f"cut off from the partner: the other node leads after {took_s:.1f} s")
        assert took_s < PROMISE_S
        async with EtcdClient([cluster.endpoint]) as client:
            last = (await client.kv.get(cluster.keys.probe_last("default"))).value
        assert last is not None
        yielded = decode_yielded(last)
        assert (yielded.by, yielded.to, yielded.reached) == ("a", "b", {"a": 1, "b": 2})
        assert str(catalogue.LEADERSHIP_YIELDED) in cluster.log_of("a")
        # The preferred one is still cut off: it does not take leadership back, also where it is asked.
        cluster.give("after.dat")
        await eventually(lambda: "after.dat" in consumer.names, 30, what="b delivers")
        assert (await eye.candidates())[0] == "b"


async def _stand(eye: Eye, *names: str) -> bool:
    return await eye.candidates() == list(names)
