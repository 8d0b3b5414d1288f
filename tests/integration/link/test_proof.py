"""Who is let in: only an instance with the key admitted under its name, and only at a controller of the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mft.agent.link import Link, Self
from mft.agent.link_requests import LinkRequests
from mft.aio import cancel_and_wait
from mft.cluster.joining import KEY_FILE
from mft.cluster.keys import Keys
from mft.cluster.linking import SERVER_NAME, Claim, announce, make_certificate, read_announcement
from mft.cluster.sign import SigningKey
from mft.controller.deliveries import DeliveryStore
from mft.controller.deliveries_rows import Found
from mft.controller.home import Home
from mft.controller.link_server import LinkListen, LinkServer
from mft.controller.management import Management
from mft.errors import Conflict, Denied, Invalid, Unavailable
from mft.etcd.client import EtcdClient
from mft.events import catalogue
from mft.events.event import Event
from mft.events.spool import Spool
from mft.events.uplink import Peer, Uplink
from mft.pb.link.v1 import link_pb2 as pb
from tests.integration.config.controllers import keys_in, management
from tests.rig.etcd import PATIENT, Etcd
from tests.rig.waiting import eventually

LIMIT_S = 40.0


class Running(NamedTuple):
    """A controller with its link port open."""

    home: Home
    parts: Management
    etcd: EtcdClient
    keys: Keys


@pytest.fixture
async def running(etcd: Etcd, prefix: str, tmp_path: Path) -> AsyncIterator[Running]:
    """Run a controller's admissions and its link server."""
    async with management(etcd, tmp_path / "c", prefix) as parts, EtcdClient([etcd.endpoint], times=PATIENT) as client:
        running = Running(keys_in(tmp_path / "c", prefix), parts, client, Keys(prefix))
        async with serving(parts, running, "ctl"):
            yield running


@contextlib.asynccontextmanager
async def serving(parts: Management, running: Running, name: str) -> AsyncIterator[None]:
    """Run a controller of this name."""
    server = LinkServer(
        name,
        running.etcd,
        running.keys,
        key=running.home.signing_key,
        trust=running.home.pinned.trust(),
        store=parts.transfers.deliveries,
        links=parts.links,
        listen=LinkListen("127.0.0.1", 0),
        lease_ttl_s=5,
    )
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(parts.admissions.run()), tasks.create_task(server.run())]
        yield
        await cancel_and_wait(*work)


def delivered(delivery: str, path: str = "/in/x.csv") -> Event:
    entry = catalogue.CATALOGUE[catalogue.FILE_DELIVERED]
    fields = {"transfer": "out", "delivery": delivery, "path": path, "sha256": "ab", "size_bytes": 1}
    return Event(
        id=catalogue.FILE_DELIVERED,
        name=entry.name,
        severity=entry.severity,
        at=1.0,
        instance="a",
        text=path,
        fields=fields,
    )


@contextlib.asynccontextmanager
async def linked(running: Running, name: str, folder: Path) -> AsyncIterator[tuple[Link, Spool]]:
    """Run the agent's side of the link as an instance of this name."""
    spool = Spool(folder / "events")
    await spool.open()
    link = Link(
        Self(name, "node", "boot", "0.1.0", folder),
        running.etcd,
        running.keys,
        spool,
        requests=LinkRequests(tuple, _leads_nothing),
        progress=pb.Progress,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(spool.run(lambda count: None)),
                tasks.create_task(link.run(running.home.pinned.trust())),
            ]
            yield link, spool
            await cancel_and_wait(*work)
    finally:
        spool.close()


def _leads_nothing(transfer: str) -> NoReturn:
    raise Conflict("leads nothing")


async def known(store: DeliveryStore, delivery: str) -> Found:
    """Wait until the store knows of a delivery."""

    async def look() -> Found | None:
        try:
            return await store.known(delivery)
        except Unavailable:
            return None  # It is not open yet.

    found = await eventually(look, LIMIT_S, what=f"{delivery} is known")
    assert found is not None
    return found


async def announced(running: Running) -> Peer:
    """Wait until the controller is announced, and say where it is."""

    async def look() -> bytes | None:
        return (await running.etcd.kv.get(running.keys.controller("ctl"))).value

    value = await eventually(look, LIMIT_S, what="the controller is announced")
    assert value is not None
    found = read_announcement(value, running.keys.cluster, "ctl", running.home.pinned.trust())
    return Peer("ctl", SERVER_NAME, found.addresses, found.port, found.certificate.encode())


async def test_an_admitted_instance_delivers_its_events(running: Running, tmp_path: Path) -> None:
    """Goal: the whole way up, and requests down. Method: an instance that joins by itself, one event, one request."""
    async with linked(running, "a", tmp_path / "a") as (link, spool):
        spool.put(delivered("d1", "/in/x\udc80.csv"))
        await eventually(lambda: "ctl" in link.attached.value, LIMIT_S, what="the link stands")
        store = running.parts.transfers.deliveries
        found = await known(store, "d1")
        assert (found.node, found.destination_path) == ("a", "/in/x\\udc80.csv")
        session = running.parts.links.session("a")
        with pytest.raises(Conflict, match="leads nothing"):
            await session.ask(pb.Request(run_transfer=pb.RunTransfer(transfer="out")))
        assert not (await session.ask(pb.Request(read_transfers=pb.ReadTransfers()))).transfers
        with pytest.raises(Invalid, match="older program"):
            await session.ask(pb.Request())


async def test_strangers_are_refused(running: Running, tmp_path: Path) -> None:
    """Goal: nothing is heard from whom nobody admitted. Method: no key, another's key, a wrong proof, no name."""
    async with linked(running, "a", tmp_path / "a") as (link, spool):
        await eventually(lambda: "ctl" in link.attached.value, LIMIT_S, what="the link stands")
    peer = await announced(running)
    a = X25519PrivateKey.from_private_bytes((tmp_path / "a" / KEY_FILE).read_bytes())
    stranger = X25519PrivateKey.generate()
    public = a.public_key().public_bytes_raw()
    for name, key, shown, why in [
        ("b", stranger, stranger.public_key().public_bytes_raw(), "no instance was admitted under this name"),
        ("a", stranger, stranger.public_key().public_bytes_raw(), "another key than the one that was admitted"),
        ("a", stranger, public, "its proof is wrong"),
        ("a/../b", a, public, "nobody can have this name"),
    ]:
        claim = Claim(running.keys.cluster, name, "node", "boot", spool.id, peer.certificate)

        def hello(
            challenge: bytes, claim: Claim = claim, key: X25519PrivateKey = key, shown: bytes = shown
        ) -> pb.Hello:
            return pb.Hello(
                name=claim.name,
                boot="boot",
                role="node",
                spool=spool.id,
                public_key=shown,
                proof=claim.proof(key, challenge, shown, challenge),
            )

        with pytest.raises(Denied, match=why):
            await _uplink(peer, spool, hello).run(lambda: None)
    other = peer._replace(certificate=make_certificate().certificate)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await _uplink(other, spool, lambda challenge: pb.Hello()).run(lambda: None)
    assert not running.parts.links.sessions


def _uplink(peer: Peer, spool: Spool, hello: object) -> Uplink:
    async def answer(request: pb.Request) -> pb.Answer:
        return pb.Answer()

    return Uplink(peer, spool, hello=hello, answer=answer, progress=pb.Progress)  # type: ignore[arg-type]


async def test_nobody_else_can_be_a_controller(running: Running, tmp_path: Path) -> None:
    """Goal: who writes to etcd catches no events. Method: announcements signed by another, and of another name."""
    peer = await announced(running)
    value = (await running.etcd.kv.get(running.keys.controller("ctl"))).value
    assert value is not None
    trust = running.home.pinned.trust()
    own = read_announcement(value, running.keys.cluster, "ctl", trust)
    for name, data in (
        ("forged", announce(own, SigningKey.generate())),
        ("renamed", value),
        ("damaged", value[:-9]),
        ("rubbish", b""),
    ):
        with pytest.raises(Invalid):
            read_announcement(data, running.keys.cluster, name, trust)
        await running.etcd.kv.put(running.keys.controller(name), data)
    async with linked(running, "a", tmp_path / "a") as (link, _):
        await eventually(lambda: link.attached.value, LIMIT_S, what="the link stands")
        assert link.attached.value == {"ctl"}
    assert peer.port


async def test_every_controller_learns_of_a_delivery(running: Running, etcd: Etcd, tmp_path: Path) -> None:
    """Goal: one that comes later has it too. Method: a second controller begins after the first has it."""
    async with linked(running, "a", tmp_path / "a") as (link, spool):
        await eventually(lambda: "ctl" in link.attached.value, LIMIT_S, what="the link stands")
        first = running.parts.transfers.deliveries
        async with management(etcd, tmp_path / "d", running.keys.cluster, running.home) as parts:
            spool.known(["two"], now=time.time())
            spool.put(delivered("d1"))
            await known(first, "d1")
            (tmp_path / "d").mkdir()
            async with serving(parts, running, "two"):
                second = parts.transfers.deliveries
                await known(second, "d1")
                spool.put(delivered("d2"))
                for store in (first, second):
                    await known(store, "d2")
                assert await running.etcd.kv.count_prefix(running.keys.controllers) == 2
        assert await running.etcd.kv.count_prefix(running.keys.controllers) == 1
