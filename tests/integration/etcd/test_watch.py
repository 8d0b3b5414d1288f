"""The watch against real etcd: nothing lost, nothing doubled, whatever happens to the servers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mft.errors import Denied, Unavailable
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.etcd.endpoints import CallTimes
from mft.etcd.ops import Delete, Put
from mft.etcd.watch import View, Watch
from mft.etcd.watch_stream import Change, WatchTimes
from tests.integration.etcd.relay import run_relay
from tests.rig.etcd import Etcd
from tests.rig.waiting import eventually

QUICK = WatchTimes(progress_s=0.3, silence_s=1.0, backoff_most_s=0.5)
CALLS = CallTimes(call_s=40.0, attempt_s=1.0)


class Follower:
    """Follows a prefix and keeps what it was told: every change, and the newest view."""

    def __init__(self, client: EtcdClient, prefix: str, times: WatchTimes = QUICK, floor_revision: int = 0) -> None:
        self.changes: list[Change] = []
        self.watch = Watch(
            client.endpoints,
            client.kv,
            prefix,
            prefix=True,
            floor_revision=floor_revision,
            times=times,
            observe=self.changes.extend,
        )

    @property
    def state(self) -> dict[str, bytes]:
        """What the watch holds to be there."""
        view = self.watch.view
        return {} if view is None else {key: kv.value for key, kv in view.items.items()}


@asynccontextmanager
async def following(client: EtcdClient, prefix: str, times: WatchTimes = QUICK) -> AsyncIterator[Follower]:
    """A follower that runs beside the block, after its first listing."""
    follower = Follower(client, prefix, times)
    async with beside(follower.watch.run(), name="follower"):
        await eventually(lambda: follower.watch.view)
        yield follower


async def write(client: EtcdClient, prefix: str, numbers: range) -> None:
    """Put keys one after the other; every second write deletes the one before."""
    for number in numbers:
        if number % 2:
            await client.kv.delete(f"{prefix}/{number - 1:04}", idempotent=True)
        else:
            await client.kv.put(f"{prefix}/{number:04}", b"x", idempotent=True)


async def test_view_is_the_state_and_follow_gives_the_newest(etcd: Etcd, prefix: str) -> None:
    """Goal: views are whole, at one revision, and those overtaken are skipped. Method: a slow reader, many writes."""
    async with EtcdClient([etcd.endpoint]) as client:
        await client.kv.put(f"{prefix}/a", b"0")
        async with client.watch(f"{prefix}/") as watch:
            views: list[View] = []
            async for view in watch.follow(every_s=5):
                assert view.items[f"{prefix}/a"].mod_revision <= view.revision
                views.append(view)
                if view.items[f"{prefix}/a"].value == b"20":
                    break
                if len(views) == 1:
                    for number in range(1, 21):
                        await client.kv.txn(
                            when=[], then=[Put(f"{prefix}/a", str(number).encode()), Put(f"{prefix}/b", b"")]
                        )
            assert len(views) < 10
            with pytest.raises(TypeError):
                views[0].items["x"] = views[0].items[f"{prefix}/a"]  # type: ignore[index]
            await client.kv.delete(f"{prefix}/b")
            await eventually(lambda: watch.view and f"{prefix}/b" not in watch.view.items)
            health = watch.health
            assert (health.trouble, health.repaired, health.relists, health.streams) == ("", 0, 1, 1)
            assert health.idle_s < 5
        async with client.watch(f"{prefix}/a", prefix=False) as watch:
            await client.kv.put(f"{prefix}/ab", b"")
            await client.kv.put(f"{prefix}/a", b"21")
            await eventually(lambda: watch.view and watch.view.items[f"{prefix}/a"].value == b"21")
            assert list((await watch.listed()).items) == [f"{prefix}/a"]


async def test_large_transaction_arrives_joined(etcd: Etcd, prefix: str) -> None:
    """Goal: what was written at one revision is seen at once, fragments or not. Method: txns of > 2 MiB together."""
    async with EtcdClient([etcd.endpoint]) as client, following(client, prefix) as follower:
        for number in range(6):
            await client.kv.txn(when=[], then=[Put(f"{prefix}/{number}/{part}", bytes(10_000)) for part in range(100)])
        await eventually(lambda: len(follower.changes) == 600)
        await client.kv.delete_prefix(prefix)


async def test_resumes_after_restarts_without_loss_or_double(each_etcd: Etcd, prefix: str) -> None:
    """Goal: every change exactly once, in order. Method: two SIGKILLs of etcd among 300 changes; compare revisions."""
    async with EtcdClient([each_etcd.endpoint], times=CALLS) as client, following(client, prefix) as follower:
        await write(client, prefix, range(100))
        await each_etcd.restart()
        await write(client, prefix, range(100, 200))
        each_etcd.kill()
        await eventually(lambda: follower.watch.health.trouble)
        await each_etcd.start()
        await write(client, prefix, range(200, 300))
        last = (await client.kv.put(f"{prefix}/last", b"", idempotent=True)).header.revision
        await eventually(lambda: follower.watch.view and follower.watch.view.revision == last)
        revisions = [change.kv.mod_revision for change in follower.changes]
        assert revisions == list(range(revisions[0], last + 1))
        assert list(follower.state) == [f"{prefix}/last"]
        health = follower.watch.health
        assert (health.relists, health.repaired, health.regressions, health.compactions) == (1, 0, 0, 0)


async def test_compaction_while_away_is_a_normal_path(each_etcd: Etcd, prefix: str) -> None:
    """Goal: after a compaction the state is right again. Method: cut the watch off while etcd moves on and forgets."""
    async with (
        run_relay(each_etcd.port) as relay,
        EtcdClient([relay.endpoint], times=CALLS) as client,
        EtcdClient([each_etcd.endpoint], times=CALLS) as other,
    ):
        await other.kv.put(f"{prefix}/gone", b"")
        async with following(client, prefix) as follower:
            assert list(follower.state) == [f"{prefix}/gone"]
            relay.cut()
            await eventually(lambda: follower.watch.health.trouble)
            await other.kv.txn(when=[], then=[Delete(f"{prefix}/gone"), Put(f"{prefix}/new", b"")])
            for _ in range(3):
                revision = (await other.kv.put("elsewhere", b"")).header.revision
            await other.kv.compact(revision)
            relay.mend()
            await eventually(lambda: list(follower.state) == [f"{prefix}/new"])
            health = follower.watch.health
            assert (health.compactions, health.relists, health.regressions) == (1, 2, 0)


async def test_frozen_server_is_noticed(own_etcd: Etcd, prefix: str) -> None:
    """Goal: silence is no proof of idleness. Method: SIGSTOP; trouble within the limit; SIGCONT; all is well again."""
    async with EtcdClient([own_etcd.endpoint], times=CALLS) as client, following(client, prefix) as follower:
        own_etcd.pause()
        try:
            await eventually(lambda: "said nothing" in follower.watch.health.trouble)
        finally:
            own_etcd.resume()
        await client.kv.put(f"{prefix}/x", b"1", idempotent=True)
        await eventually(lambda: follower.state == {f"{prefix}/x": b"1"})
        await eventually(lambda: follower.watch.health.trouble == "")


async def test_relists_now_and_then(etcd: Etcd, prefix: str) -> None:
    """Goal: the safety net runs and finds nothing. Method: relist every half second while changes come."""
    times = WatchTimes(progress_s=0.1, silence_s=2.0, relist_s=0.4)
    async with EtcdClient([etcd.endpoint]) as client, following(client, prefix, times) as follower:
        number = 0
        while follower.watch.health.relists < 4 and number < 50_000:  # Far more than fit into the time of four.
            number += 1
            await client.kv.put(f"{prefix}/n", str(number).encode())
        await eventually(lambda: follower.state == {f"{prefix}/n": str(number).encode()})
        assert follower.watch.health.relists >= 4
        assert follower.watch.health.repaired == 0


async def test_store_gone_back_in_time_is_signalled(own_etcd: Etcd, prefix: str) -> None:
    """Goal: a restored store is seen as such. Method: a floor above its revision, as kept by a node from before."""
    async with EtcdClient([own_etcd.endpoint]) as client:
        await client.kv.put(f"{prefix}/a", b"")
        async with client.watch(f"{prefix}/", floor_revision=10_000) as watch:
            view = await watch.listed()
            assert (view.regressions, list(view.items)) == (1, [f"{prefix}/a"])
            now = (await client.kv.put(f"{prefix}/b", b"")).header.revision
            await eventually(lambda: watch.view and watch.view.revision == now)
            assert watch.health.regressions == 1


async def test_store_built_anew_is_signalled(own_etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: a running watch does not hold on to a store that is gone. Method: etcd comes back without its data."""
    async with EtcdClient([own_etcd.endpoint], times=CALLS) as client, following(client, prefix) as follower:
        await write(client, prefix, range(21))
        await eventually(lambda: list(follower.state) == [f"{prefix}/0020"])
        own_etcd.kill()
        shutil.rmtree(tmp_path / "etcd" / "data")
        await own_etcd.start()
        await eventually(lambda: follower.watch.health.regressions == 1 and not follower.state)
        await client.kv.put(f"{prefix}/after", b"")
        await eventually(lambda: list(follower.state) == [f"{prefix}/after"])
        assert (await follower.watch.listed()).regressions == 1


async def test_denied_watch_ends_in_denied(each_etcd: Etcd, prefix: str) -> None:
    """Goal: a missing right is an error, not silence. Method: a user of etcd that may read its own prefix only."""
    for command in (
        "user add root:secret --interactive=false",
        "user add node:word --interactive=false",
        "role add root",
        "user grant-role root root",
        "role add reader",
        f"role grant-permission reader --prefix=true readwrite {prefix}/",
        "user grant-role node reader",
        "auth enable",
    ):
        await each_etcd.ctl(*command.split())
    async with EtcdClient([each_etcd.endpoint], user="node", password="word") as client:
        async with following(client, f"{prefix}/") as follower:
            await client.kv.put(f"{prefix}/x", b"")
            await eventually(lambda: f"{prefix}/x" in follower.state)
            # A token that the server does not know, as after its restart: renewed without anybody noticing.
            client.endpoints.current.token = "no such token"
            await client.kv.put(f"{prefix}/y", b"")
            await eventually(lambda: f"{prefix}/y" in follower.state)
            lease = await client.leases.grant(30)
            client.endpoints.current.token = "no such token"
            assert await client.leases.renew(lease.id) == 30
        with pytest.raises(Denied, match="read other"):
            await client.kv.get("other")
        with pytest.raises(Denied):
            async with client.watch("other/"):
                await asyncio.sleep(60)
    async with EtcdClient([each_etcd.endpoint], user="node", password="wrong") as client:
        with pytest.raises(Denied, match="log in to etcd as node") as caught:
            await client.kv.get(f"{prefix}/x")
        assert not isinstance(caught.value, Unavailable)
        assert "wrong" not in str(caught.value)
    async with EtcdClient([each_etcd.endpoint]) as client:
        with pytest.raises(Denied):
            await client.kv.get(f"{prefix}/x")
