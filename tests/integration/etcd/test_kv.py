"""Keys, values and transactions against real etcd, with etcdctl as the independent witness."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from mft.errors import Invalid, NotFound, Unavailable
from mft.etcd.client import EtcdClient
from mft.etcd.endpoints import CallTimes
from mft.etcd.errors import Compacted, OutcomeUnknown
from mft.etcd.kv import PAGE_KEYS
from mft.etcd.ops import Delete, DeletePrefix, Get, GetPrefix, Put, create_revision, lease, mod_revision, value, version
from mft.etcd.servers import Fitness, judge_version
from tests.rig.etcd import PATIENT, Etcd
from tests.rig.waiting import eventually, free_port


@pytest.fixture
async def client(etcd: Etcd) -> AsyncIterator[EtcdClient]:
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        yield client


async def test_what_we_write_is_plain_etcd_and_what_others_write_we_read(each_etcd: Etcd) -> None:
    """Goal: no dialect. Method: write here and read by etcdctl, and the other way round, leases and bytes included."""
    async with EtcdClient([each_etcd.endpoint]) as client:
        lease_id = (await client.leases.grant(60)).id
        written = await client.kv.put("ours/ü", b"\x00\xffbytes", lease=lease_id)
        seen = json.loads(await each_etcd.ctl("get", "ours/ü", "-w", "json", "--hex=false"))
        assert seen["kvs"][0]["lease"] == lease_id
        assert seen["kvs"][0]["mod_revision"] == written.header.revision
        assert (
            await each_etcd.ctl("get", "ours/ü", "--print-value-only", "--hex")
            == "\\x00\\xff" + "".join(f"\\x{byte:02x}" for byte in b"bytes") + "\n"
        )
        await each_etcd.ctl("put", "theirs", "hello")
        got = await client.kv.get("theirs")
        assert got.value == b"hello"
        assert got.kv is not None
        assert (got.kv.version, got.kv.lease) == (1, 0)
        assert got.kv.create_revision == got.kv.mod_revision == got.header.revision
        shown = json.loads(await each_etcd.ctl("endpoint", "status", "-w", "json"))[0]["Status"]
        status = await client.servers.status()
        assert (status.version, status.leader_id) == (shown["version"], shown["leader"])
        assert status.header.cluster_id == got.header.cluster_id == shown["header"]["cluster_id"]
        assert judge_version(status.version).fitness is not Fitness.REFUSED
        assert [member.name for member in await client.servers.members()] == ["test"]
        assert await client.servers.alarms() == ()


async def test_transaction_decides_by_what_it_compares(client: EtcdClient, prefix: str) -> None:
    """Goal: each comparison and operation means what it says. Method: run both sides of transactions."""
    a, b = f"{prefix}/a", f"{prefix}/b"
    made = await client.kv.txn(when=[create_revision(a) == 0, version(b) == 0], then=[Put(a, b"1"), Put(b, b"2")])
    assert made.succeeded
    term = made.header.revision
    again = await client.kv.txn(when=[create_revision(a) == 0], then=[Put(a, b"x")], otherwise=[Get(a), Get(f"{a}?")])
    assert not again.succeeded
    found = again.listing(0).kv
    assert found is not None
    assert (found.value, found.create_revision, found.mod_revision) == (b"1", term, term)
    assert again.listing(1).kv is None
    all_hold = [
        create_revision(a) == term,
        mod_revision(a) < term + 1,
        mod_revision(a) > term - 1,
        version(a) != 2,
        value(a) == b"1",
        lease(a) == 0,
    ]
    fenced = await client.kv.txn(when=all_hold, then=[Put(a, b"3"), Delete(b), GetPrefix(f"{prefix}/")])
    assert fenced.succeeded
    assert [kv.key for kv in fenced.listing(2).kvs] == [a]
    assert (await client.kv.get(a)).mod_revision == fenced.header.revision
    assert not (await client.kv.txn(when=[mod_revision(a) == term], then=[Delete(a)])).succeeded
    assert (await client.kv.txn(when=[], then=[DeletePrefix(f"{prefix}/")])).succeeded
    assert (await client.kv.get(a)).create_revision == 0


async def test_large_prefix_is_listed_as_of_one_revision(client: EtcdClient, prefix: str) -> None:
    """Goal: pages of one listing belong together. Method: more than a page, more than a message, writes."""
    keys = [f"{prefix}/k/{number:05}" for number in range(PAGE_KEYS * 2 + 3)]
    for start in range(0, len(keys), 100):
        await client.kv.txn(when=[], then=[Put(key, b"v") for key in keys[start : start + 100]])

    async def write_both_ends() -> None:
        await client.kv.txn(when=[], then=[Put(keys[0], b"w"), Put(keys[-1], b"w")])

    async def disturb() -> None:
        for _ in range(20):
            await write_both_ends()

    await write_both_ends()
    await disturb()  # So that first and last key were written together before the first listing.
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(disturb(), name="disturb")
        for _ in range(5):
            listing = await client.kv.get_prefix(f"{prefix}/k/")
            assert [kv.key for kv in listing.kvs] == keys
            assert listing.kvs[0].mod_revision == listing.kvs[-1].mod_revision <= listing.revision
    assert await client.kv.count_prefix(f"{prefix}/k/") == len(keys)
    assert (await client.kv.delete_prefix(f"{prefix}/k/")).total == len(keys)
    for number in range(70):
        await client.kv.put(f"{prefix}/big/{number:03}", bytes(1_000_000))
    assert (await client.kv.get_prefix(f"{prefix}/big/")).total == 70
    await client.kv.delete_prefix(f"{prefix}/big/")


async def test_errors_say_what_was_being_done(client: EtcdClient, prefix: str) -> None:
    """Goal: each refusal has its class and names the key. Method: provoke them."""
    key = f"{prefix}/key"
    with pytest.raises(Invalid, match=f"write {key}.*too large"):
        await client.kv.put(key, bytes(2_000_000))
    with pytest.raises(Invalid, match="too many operations"):
        await client.kv.txn(when=[], then=[Put(f"{key}{number}", b"") for number in range(129)])
    with pytest.raises(NotFound, match=f"write {key}"):
        await client.kv.put(key, b"", lease=4711)
    with pytest.raises(NotFound):
        await client.leases.renew(4711)
    first = (await client.kv.put(key, b"1")).header.revision
    await client.kv.put(key, b"2")
    assert (await client.kv.get(key, revision=first)).value == b"1"
    await client.kv.compact(first + 1)
    with pytest.raises(Compacted):
        await client.kv.get(key, revision=first)
    with pytest.raises(Compacted):
        await client.kv.get_prefix(key, revision=first)


async def test_nobody_there_is_unavailable_and_nothing_was_written() -> None:
    """Goal: "never left" is told apart from "unknown". Method: a port where nobody listens."""
    async with EtcdClient([f"127.0.0.1:{free_port()}"], times=CallTimes(call_s=0.5)) as client:
        with pytest.raises(Unavailable, match="write key: no connection") as caught:
            await client.kv.put("key", b"")
        assert not isinstance(caught.value, OutcomeUnknown)


async def test_frozen_server_leaves_a_write_unknown(own_etcd: Etcd) -> None:
    """Goal: a write that was sent and not answered is unknown. Method: SIGSTOP, write, SIGCONT, look."""
    async with EtcdClient([own_etcd.endpoint], times=CallTimes(call_s=0.5, attempt_s=0.2)) as client:

        async def answers() -> bytes | None:
            try:
                return (await client.kv.get("key")).value
            except Unavailable:
                return None

        async with EtcdClient([own_etcd.endpoint]) as patient:
            await patient.kv.put("key", b"1")
        assert await eventually(answers) == b"1"
        own_etcd.pause()
        try:
            with pytest.raises(OutcomeUnknown, match="write key"):
                await client.kv.put("key", b"2")
            with pytest.raises(OutcomeUnknown):
                await client.kv.put("key", b"2", idempotent=True)
            with pytest.raises(Unavailable) as caught:
                await client.kv.get("key")
            assert not isinstance(caught.value, OutcomeUnknown)
        finally:
            own_etcd.resume()
        assert await eventually(answers) in {b"1", b"2"}
