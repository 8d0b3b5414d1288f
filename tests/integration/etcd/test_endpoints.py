"""Several endpoints, TLS, and event loops: what a client must bear."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from mft.errors import Invalid, Unavailable
from mft.etcd.beside import beside
from mft.etcd.channel import TlsOptions
from mft.etcd.client import EtcdClient
from mft.etcd.endpoints import CallTimes
from mft.etcd.keeper import LeaseKeeper, lease_held
from mft.etcd.watch import Watch
from mft.etcd.watch_stream import Change, WatchTimes
from tests.integration.etcd.members import Authority, run_cluster, run_tls_member
from tests.integration.etcd.relay import run_relay
from tests.rig.etcd import Etcd
from tests.rig.waiting import eventually

CALLS = CallTimes(call_s=40.0, attempt_s=1.0)
QUICK = WatchTimes(progress_s=0.3, silence_s=1.0, backoff_most_s=0.5)


async def test_cluster_member_killed_and_frozen(tmp_path: Path, prefix: str) -> None:
    """Goal: a lost member costs no change and no lease. Method: kill the one in use, freeze the next, kill two."""
    async with (
        run_cluster(tmp_path) as members,
        EtcdClient([member.endpoint for member in members], times=CALLS) as client,
    ):
        changes: list[Change] = []
        watch = Watch(client.endpoints, client.kv, f"{prefix}/", prefix=True, times=QUICK, observe=changes.extend)
        keeper = LeaseKeeper(client.leases, 30)
        written: list[str] = []

        async def write(count: int) -> None:
            for _ in range(count):
                written.append(f"{prefix}/{len(written):04}")
                await client.kv.put(written[-1], b"", idempotent=True)

        async with beside(watch.run(), name="watch"), beside(keeper.run(), name="keeper"):
            await eventually(lambda: watch.view)
            lease = await lease_held(keeper)
            await write(20)
            first = next(member for member in members if member.endpoint == client.endpoints.current.endpoint)
            first.kill()
            await write(20)
            assert client.endpoints.current.endpoint != first.endpoint
            await first.start()
            second = next(member for member in members if member.endpoint == client.endpoints.current.endpoint)
            second.pause()
            try:
                await write(20)
                assert client.endpoints.current.endpoint != second.endpoint
                await eventually(lambda: watch.view and len(watch.view.items) == len(written))
            finally:
                second.resume()
            assert [change.kv.key for change in changes if change.kv.version == 1] == written
            health = watch.health
            assert (health.relists, health.repaired, health.regressions) == (1, 0, 0)
            assert keeper.state.value.lease_id == lease.lease_id
            # A member without its quorum says so, though it answers; with a quorum all is well again.
            for member in members[:2]:
                member.kill()
            await eventually(lambda: "no leader" in watch.health.trouble)
            await members[0].start()
            await write(1)
            await eventually(lambda: watch.view and written[-1] in watch.view.items)


async def test_half_open_connection_is_left(etcd: Etcd, prefix: str) -> None:
    """Goal: bytes that get stuck do not stop us. Method: two ways to one etcd; the one in use hangs."""
    async with (
        run_relay(etcd.port) as one,
        run_relay(etcd.port) as two,
        EtcdClient([one.endpoint, two.endpoint], times=CallTimes(call_s=40.0, attempt_s=1.0)) as client,
    ):
        await client.kv.put(f"{prefix}/a", b"1")
        one.hang()
        assert (await client.kv.get(f"{prefix}/a")).value == b"1"
        assert client.endpoints.current.endpoint == two.endpoint
        two.cut()
        one.mend()
        await client.kv.put(f"{prefix}/a", b"2", idempotent=True)
        assert client.endpoints.current.endpoint == one.endpoint


async def test_tls_with_client_certificates(tmp_path: Path, prefix: str) -> None:
    """Goal: each side proves who it is, and a failure says what failed. Method: right and wrong certificates."""
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    async with run_tls_member(tmp_path / "etcd", authority) as member:
        endpoint = f"https://{member.endpoint}"
        async with EtcdClient([endpoint], tls=authority.client("node")) as client:
            await client.kv.put(prefix, b"1")
            async with client.watch(prefix) as watch:
                assert (await watch.listed()).items[prefix].value == b"1"
        times = CallTimes(call_s=2.0)
        async with EtcdClient([endpoint], tls=stranger.client("node"), times=times) as client:
            with pytest.raises(Unavailable, match="handshake failed"):
                await client.kv.get(prefix)
        async with EtcdClient([endpoint], tls=TlsOptions(ca=authority.certificate), times=times) as client:
            with pytest.raises(Unavailable):
                await client.kv.get(prefix)
    missing = TlsOptions(ca=tmp_path / "nowhere.pem")
    with pytest.raises(Invalid, match=r"tls\.ca: .*nowhere\.pem cannot be read"):
        async with EtcdClient([endpoint], tls=missing):
            pass


def test_works_under_uvloop(etcd: Etcd, prefix: str) -> None:
    """Goal: the programs' event loop is served too. Method: write, watch, keep a lease there."""

    async def work() -> None:
        async with EtcdClient([etcd.endpoint]) as client:
            keeper = LeaseKeeper(client.leases, 5)
            async with beside(keeper.run(), name="keeper"), client.watch(prefix) as watch:
                first = await lease_held(keeper)
                await client.kv.put(prefix, b"1", lease=first.lease_id)
                await eventually(lambda: watch.view and prefix in watch.view.items)
                await eventually(lambda: keeper.state.value.deadline_s > first.deadline_s)
            await client.leases.revoke(first.lease_id)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
