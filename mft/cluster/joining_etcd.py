"""Joining through etcd: the node's side (`join`) and the controller's (`Admissions`). The protocol is in joining.py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mft.cluster import trust_file
from mft.cluster.joining import (
    TAKEN,
    accept,
    admit,
    admitted_key,
    load_or_make_key,
    make_request,
    public_text,
    read_request,
)
from mft.cluster.keys import Keys
from mft.cluster.sign import SigningKey, Trust
from mft.cluster.trust_file import Pinned
from mft.errors import Conflict, Denied, Invalid, MftError, NotFound, Unavailable
from mft.etcd.client import EtcdClient
from mft.etcd.ops import Delete, Operation, Put, create_revision, mod_revision

RETRY_S = 5.0
LOOK_OVER_S = 60.0


async def join(etcd: EtcdClient, keys: Keys, node: str, folder: Path, trust: Trust | None = None) -> Pinned:
    """Return what the node has pinned; at its first start ask for it and wait, however long, until the answer is here.

    Raises `Denied` if another key was admitted under this name, `Invalid` if the answer or a file is damaged or forged.
    """
    if (pinned := await asyncio.to_thread(trust_file.load, folder)) is not None:
        if pinned.cluster != keys.cluster:
            raise Invalid(f"{folder} belongs to a node of cluster {pinned.cluster!r}, not {keys.cluster!r}")
        return pinned
    key = await asyncio.to_thread(load_or_make_key, folder)
    log = structlog.get_logger().bind(node=node, cluster=keys.cluster)
    async with etcd.watch(f"{keys.joins}{node}/") as watch:
        async for view in watch.follow(every_s=RETRY_S):
            if answer := view.items.get(keys.join_answer(node)):
                pinned = accept(answer.value, node, keys.cluster, key, trust)
                await asyncio.to_thread(trust_file.save, folder, pinned)
                log.info("the node has joined the cluster", pinned_by="trust file" if trust else "first answer")
                return pinned
            request = view.items.get(keys.join_request(node))
            if request is None or public_text(key).encode() not in request.value:
                # An unanswered request of another key is an earlier life of this node, which lost its folder.
                seen = request.mod_revision if request else 0
                log.info("asking to join the cluster; a controller must run to answer")
                try:
                    await etcd.kv.txn(
                        when=[
                            mod_revision(keys.join_request(node)) == seen,
                            create_revision(keys.join_answer(node)) == 0,
                        ],
                        then=[Put(keys.join_request(node), make_request(node, key, time.time()))],
                    )
                except Unavailable as error:
                    log.warning("the request to join could not be posted; trying again", reason=str(error))
    raise AssertionError("a watch is followed until it is cancelled")


async def admitted(etcd: EtcdClient, keys: Keys, node: str, folder: Path, trust: Trust) -> X25519PrivateKey:
    """Return the key under which this instance is admitted; ask, and wait for the answer, if it is not yet.

    An instance that has the cluster's keys may not be admitted: the controller's own agent got them by hand, or etcd
    was lost since. Raises `Denied` if another key was admitted under this name, `Invalid` if the answer is forged.
    """
    key = await asyncio.to_thread(load_or_make_key, folder)
    own = key.public_key().public_bytes_raw()
    async with etcd.watch(f"{keys.joins}{node}/") as watch:
        async for view in watch.follow(every_s=RETRY_S):
            if answer := view.items.get(keys.join_answer(node)):
                if admitted_key(answer.value, node, keys.cluster, trust) != own:
                    raise Denied(TAKEN.format(name=node), code="MFT-JOIN-1001")
                return key
            request = view.items.get(keys.join_request(node))
            if request is None or public_text(key).encode() not in request.value:
                seen = request.mod_revision if request else 0
                when = [mod_revision(keys.join_request(node)) == seen, create_revision(keys.join_answer(node)) == 0]
                with contextlib.suppress(Unavailable):  # Tried again by the clock.
                    await etcd.kv.txn(
                        when=when, then=[Put(keys.join_request(node), make_request(node, key, time.time()))]
                    )
    raise AssertionError("a watch is followed until it is cancelled")


class Admissions:
    """The controller's side: answers requests as they come."""

    def __init__(self, etcd: EtcdClient, keys: Keys, pinned: Callable[[], Pinned], key: SigningKey) -> None:
        self._etcd = etcd
        self._keys = keys
        self._pinned = pinned
        self._key = key
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Answer every request that can be answered, until cancelled."""
        async with self._etcd.watch(self._keys.joins) as watch:
            refused: dict[str, int] = {}
            async for view in watch.follow(every_s=LOOK_OVER_S):
                for name, kv in view.items.items():
                    node, _, what = name.removeprefix(self._keys.joins).rpartition("/")
                    if what != "request" or refused.get(node) == kv.mod_revision:
                        continue
                    try:
                        answer = view.items.get(self._keys.join_answer(node))
                        await self.answer(node, kv.value, answer.value if answer else None, kv.mod_revision)
                    except Unavailable as error:
                        self._log.warning("a node could not be admitted; trying again", node=node, reason=str(error))
                    except MftError as error:
                        refused[node] = kv.mod_revision
                        self._log.warning("a node was not admitted", node=node, reason=str(error))

    async def answer(self, node: str, request: bytes, earlier: bytes | None, revision: int) -> None:
        """Answer one request, unless that was done. Raises `Denied` or `Invalid`: then it is not answered."""
        answer = admit(read_request(request, node), self._pinned(), self._key, earlier)
        if answer is None:
            return
        result = await self._etcd.kv.txn(
            when=[
                mod_revision(self._keys.join_request(node)) == revision,
                create_revision(self._keys.join_answer(node)) == 0,
            ],
            then=[Put(self._keys.join_answer(node), answer)],
        )
        if result.succeeded:
            self._log.info("a node was admitted", node=node)

    async def forget(self, node: str) -> None:
        """Let another node have the name. Raises `Conflict` while the node runs, `NotFound` if nobody knows it."""
        keys = self._keys
        known = [keys.join_request(node), keys.join_answer(node), keys.ack(node)]
        found = [key for key in known if (await self._etcd.kv.get(key)).kv is not None]
        then: list[Operation] = [Delete(key) for key in known]
        if not (await self._etcd.kv.txn(when=[create_revision(keys.alive(node)) == 0], then=then)).succeeded:
            raise Conflict(f"node {node} is running: stop it first")
        if not found:
            raise NotFound(f"there is no node {node}")
        self._log.info("a node was forgotten", node=node)
