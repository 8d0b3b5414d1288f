"""Where agents attach: the TLS port for links, and its announcement in etcd, on a lease of the controller's own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import aclosing
from importlib.metadata import version as program_version
from typing import Any, Final, NamedTuple

import grpc
import structlog

from mft.aio import backoff
from mft.cluster.joining import admitted_key
from mft.cluster.keys import Keys, part
from mft.cluster.linking import Announcement, Certificate, announce, make_certificate
from mft.cluster.sign import SigningKey, Trust
from mft.controller.deliveries import DeliveryStore
from mft.controller.link import Links, LinkService
from mft.errors import Denied, Invalid, MftError
from mft.etcd.client import EtcdClient
from mft.etcd.keeper import LeaseKeeper
from mft.etcd.ops import Delete, mod_revision
from mft.pb.link.v1 import link_pb2_grpc as pb_grpc

LINK_PORT: Final = 7444
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_STOP_S: Final = 0.5
_AGAIN_S: Final = 5.0
_PURGE_EVERY_S: Final = 3600.0
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.so_reuseport", 0),
    # An agent that is gone is noticed in 15 s; agents ping every 10 s themselves.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    # An agent that stood still sends what it owes at once: that is no attack ("Too many pings"), and agents are known.
    ("grpc.http2.max_ping_strikes", 0),
)


class LinkListen(NamedTuple):
    """Where agents attach. Open to the network: nobody is heard there who does not prove himself."""

    address: str = "0.0.0.0"
    port: int = LINK_PORT
    """0: any free one; agents learn it from etcd."""
    announced: tuple[str, ...] = ()
    """Names or addresses under which agents reach this machine; empty: found out."""


class LinkServer:
    """Serves the links of one controller and says in etcd where."""

    def __init__(
        self,
        name: str,
        etcd: EtcdClient,
        keys: Keys,
        *,
        key: SigningKey,
        trust: Trust,
        store: DeliveryStore,
        links: Links,
        listen: LinkListen,
        lease_ttl_s: int,
    ) -> None:
        self._name = name
        self._etcd = etcd
        self._keys = keys
        self._key = key
        self._trust = trust
        self._store = store
        self._links = links
        self._listen = listen
        self._keeper = LeaseKeeper(etcd.leases, lease_ttl_s)
        self._boot = secrets.token_hex(8)
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Serve until cancelled. What hinders it is told and tried again: administrators are answered all the same."""
        try:
            await self._open_store()
            certificate = await asyncio.to_thread(make_certificate)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_lease(), name="link:lease")
                tasks.create_task(self._purge(), name="deliveries:purge")
                await self._serve(certificate)
        finally:
            await self._store.close()

    async def _open_store(self) -> None:
        for wait_s in backoff(1.0, 30.0):
            try:
                return await self._store.open()
            except MftError as error:
                self._log.error("without the store of deliveries no instance can be linked", reason=str(error))
            await asyncio.sleep(wait_s)
        raise AssertionError("backoff goes on for ever")

    async def _serve(self, certificate: Certificate) -> None:
        service = LinkService(self._keys.cluster, certificate.certificate, self._key_of, self._store, self._links)
        for wait_s in backoff(1.0, 30.0):
            server = grpc.aio.server(options=_OPTIONS)
            pb_grpc.add_LinkServiceServicer_to_server(service, server)
            try:
                port = self._open(server, certificate)
            except RuntimeError:
                await server.stop(None)
                where = f"{self._listen.address}:{self._listen.port}"
                self._log.error("cannot listen for links of nodes: choose another --link-listen", address=where)
                await asyncio.sleep(wait_s)
                continue
            await server.start()
            self._log.info("ready for links of nodes", address=f"{self._listen.address}:{port}")
            try:
                await self._announce(port, certificate)
            finally:
                await server.stop(_STOP_S)
        raise AssertionError("backoff goes on for ever")

    def _open(self, server: Any, certificate: Certificate) -> int:
        address = self._listen.address
        where = f"[{address}]" if ":" in address else address
        credentials = grpc.ssl_server_credentials([(certificate.key, certificate.certificate)])
        port: int = server.add_secure_port(f"{where}:{self._listen.port}", credentials)
        return port

    async def _announce(self, port: int, certificate: Certificate) -> None:
        """Keep the announcement in etcd true, until cancelled; then take it back."""
        try:
            await self._keep_announced(port, certificate)
        finally:
            with contextlib.suppress(MftError, TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await self._withdraw()

    async def _withdraw(self) -> None:
        """Take the announcement back, so that agents do not look for a controller that has stopped."""
        key = self._keys.controller(self._name)
        found = (await self._etcd.kv.get(key)).kv
        if found is not None and self._boot.encode() in found.value:
            await self._etcd.kv.txn(when=[mod_revision(key) == found.mod_revision], then=[Delete(key)])

    async def _keep_announced(self, port: int, certificate: Certificate) -> None:
        written: tuple[int, bytes] | None = None
        async with aclosing(self._keeper.state.follow(every_s=_AGAIN_S)) as states:
            async for state in states:
                if not state.lease_id:
                    continue
                announcement = Announcement(
                    cluster=self._keys.cluster,
                    name=self._name,
                    boot=self._boot,
                    program=program_version("mft-cluster"),
                    addresses=await asyncio.to_thread(self._addresses),
                    port=port,
                    certificate=certificate.certificate.decode(),
                )
                value = announce(announcement, self._key)
                if written == (state.lease_id, value):
                    continue
                try:
                    await self._etcd.kv.put(
                        self._keys.controller(self._name), value, lease=state.lease_id, idempotent=True
                    )
                    written = state.lease_id, value
                except MftError as error:
                    self._log.warning("this controller cannot be announced; trying again", reason=str(error))

    def _addresses(self) -> tuple[str, ...]:
        """Say where agents may try: what was given, else this machine's address on the way to etcd, and its name."""
        if self._listen.announced:
            return self._listen.announced
        if self._listen.address not in {"0.0.0.0", "::", ""}:
            return (self._listen.address,)
        return tuple(dict.fromkeys((*outward_addresses(self._etcd.endpoints.targets), socket.gethostname())))

    async def _key_of(self, node: str) -> bytes:
        """Return the key that was admitted under a name. Raises `Denied` if there is none."""
        try:
            answer = (await self._etcd.kv.get(self._keys.join_answer(part(node)))).value
        except Invalid as error:
            raise Denied("nobody can have this name") from error
        if answer is None:
            raise Denied("no instance was admitted under this name")
        return admitted_key(answer, node, self._keys.cluster, self._trust)

    async def _keep_lease(self) -> None:
        for wait_s in backoff(0.5, 10.0):
            try:
                await self._keeper.run()
            except MftError as error:
                self._log.warning("no lease can be had from etcd", reason=str(error))
            await asyncio.sleep(wait_s)

    async def _purge(self) -> None:
        """Remove what is older than it is to be kept, now and then."""
        while True:
            try:
                if removed := await self._store.purge(time.time()):
                    self._log.info("old deliveries are removed from the store", count=removed)
            except MftError as error:
                self._log.warning("old deliveries cannot be removed", reason=str(error))
            await asyncio.sleep(_PURGE_EVERY_S)


def outward_addresses(targets: Sequence[str]) -> tuple[str, ...]:
    """Return this machine's own addresses on the ways to these `host:port`. Sends nothing. Blocks to look names up."""
    found: dict[str, None] = {}
    for target in targets:
        host, _, port = target.rpartition(":")
        try:
            looked_up = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = looked_up[0]
            with socket.socket(family, kind, protocol) as way:
                way.connect(address)  # Of a datagram socket: only chooses the way.
                found[way.getsockname()[0]] = None
        except (OSError, ValueError):
            continue
    return tuple(found)
