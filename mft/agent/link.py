"""The link to the controllers: finds them in etcd and keeps one stream to each, without ever holding the agent up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import structlog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mft.agent.link_requests import LinkRequests
from mft.aio import Latest, backoff, cancel_and_wait, cancellations, first_error, give_way, is_only
from mft.cluster.joining_etcd import admitted
from mft.cluster.keys import Keys
from mft.cluster.linking import SERVER_NAME, Announcement, Claim, read_announcement
from mft.cluster.sign import Trust
from mft.errors import Denied, Invalid, MftError, Unavailable
from mft.etcd.client import EtcdClient
from mft.etcd.watch import View
from mft.events.spool import Spool
from mft.events.uplink import Peer, Uplink
from mft.pb.link.v1 import link_pb2 as pb

_AGAIN_FIRST_S, _AGAIN_MOST_S = 0.3, 15.0
_DENIED_AGAIN_S = 60.0
"""A refusal is no outage: only an administrator ends it."""
_LOOK_S = 60.0
_STEADY_S = 30.0


class Self(NamedTuple):
    """What this instance says of itself."""

    name: str
    role: str
    boot: str
    program: str
    folder: Path
    """Its data folder, where the key is that it joined with."""


class Link:
    """The streams of this instance, one to each controller that etcd names."""

    def __init__(
        self,
        own: Self,
        etcd: EtcdClient,
        keys: Keys,
        spool: Spool,
        *,
        requests: LinkRequests,
        progress: Callable[[], pb.Progress],
    ) -> None:
        self._own = own
        self._etcd = etcd
        self._keys = keys
        self._spool = spool
        self._requests = requests
        self._progress = progress
        self.attached: Latest[frozenset[str]] = Latest(frozenset())
        """The controllers with which a stream is open."""
        self._log = structlog.get_logger()

    async def run(self, trust: Trust) -> NoReturn:
        """Keep the streams, until cancelled; whatever fails is tried again."""
        since = cancellations()
        while True:
            try:
                key = await admitted(self._etcd, self._keys, self._own.name, self._own.folder, trust)
                await self._follow(trust, key)
            except MftError as error:
                # Nothing else of the agent depends on it: not even a refusal ends more than this.
                self._log.error("this instance cannot be linked to the controllers", reason=str(error))
            except BaseExceptionGroup as group:
                give_way(since)
                if not is_only(group, MftError):
                    raise
                reason = str(first_error(group))
                self._log.error("this instance cannot be linked to the controllers", reason=reason)
            await asyncio.sleep(_DENIED_AGAIN_S)

    async def _follow(self, trust: Trust, key: X25519PrivateKey) -> None:
        """Keep one stream to each controller that is announced, and to those that were and may come back."""
        running: dict[str, tuple[Announcement, asyncio.Task[None]]] = {}
        async with self._etcd.watch(self._keys.controllers) as watch, asyncio.TaskGroup() as tasks:
            async for view in watch.follow(every_s=_LOOK_S):
                wanted = self._controllers(view, trust)
                self._spool.known(wanted, time.time())
                for name, (announcement, task) in list(running.items()):
                    # One whose key has run out may still be there: what holds is not let go.
                    is_gone = name not in wanted and name not in self.attached.value
                    if is_gone or (name in wanted and wanted[name] != announcement):
                        await cancel_and_wait(task)
                        del running[name]
                for name in sorted(wanted.keys() - running.keys()):
                    work = self._keep(wanted[name], key)
                    running[name] = wanted[name], tasks.create_task(work, name=f"link:{name}")

    def _controllers(self, view: View, trust: Trust) -> dict[str, Announcement]:
        """Read who is announced. What is not signed as it should be is passed over and reported."""
        found = {}
        for key, kv in view.items.items():
            name = key.removeprefix(self._keys.controllers)
            try:
                found[name] = read_announcement(kv.value, self._keys.cluster, name, trust)
            except Invalid as error:
                self._log.warning("a controller is announced that is none of this cluster", reason=str(error))
        return found

    async def _keep(self, announcement: Announcement, key: X25519PrivateKey) -> None:
        """Keep one stream, until its controller is announced anew or has been away for long."""
        name, waits, told = announcement.name, backoff(_AGAIN_FIRST_S, _AGAIN_MOST_S), ""

        def attached() -> None:
            nonlocal waits, told
            self._log.info("linked to controller", controller=name)
            self.attached.set(self.attached.value | {name})
            told = ""

        while True:
            uplink = self._uplink(announcement, key)
            began = time.monotonic()
            wait_s = next(waits)
            try:
                await uplink.run(attached)
            except Denied as error:
                self._log.error("the link is refused", controller=name, reason=str(error))
                wait_s = _DENIED_AGAIN_S
            except Unavailable as error:
                if str(error) != told:
                    self._log.warning("no link to controller; events wait", controller=name, reason=str(error))
                told = str(error)
            finally:
                self.attached.set(self.attached.value - {name})
            if time.monotonic() - began > _STEADY_S:
                waits = backoff(_AGAIN_FIRST_S, _AGAIN_MOST_S)
            await asyncio.sleep(wait_s)

    def _uplink(self, announcement: Announcement, key: X25519PrivateKey) -> Uplink:
        certificate = announcement.certificate.encode()
        own = self._own
        claim = Claim(self._keys.cluster, own.name, own.role, own.boot, self._spool.id, certificate)
        public = key.public_key().public_bytes_raw()

        def hello(challenge: bytes) -> pb.Hello:
            proof = claim.proof(key, challenge, public, challenge)
            return pb.Hello(
                name=own.name,
                boot=own.boot,
                program=own.program,
                role=own.role,
                public_key=public,
                proof=proof,
                spool=self._spool.id,
            )

        return Uplink(
            Peer(announcement.name, SERVER_NAME, announcement.addresses, announcement.port, certificate),
            self._spool,
            hello=hello,
            answer=self._requests.answer,
            progress=self._progress,
        )
