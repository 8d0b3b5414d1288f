"""How the demo kills the leader: freeze all its processes, look, and either let it go on or kill it as it stands."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Mapping

from msgspec import Struct

from mft.cli.demo_cluster import CLUSTER, TRANSFER, Cluster
from mft.cli.demo_moment import KillAt, Moment, look
from mft.cli.demo_partner import Partner
from mft.errors import MftError
from mft.etcd.client import EtcdClient

_SETTLE_S = 0.015
"""How long etcd and sshd may take to carry out what a node sent before it was frozen."""
_FREEZE_S_MAX = 2.0
"""Well below the time to live of the lease, so that the node still leads; on a busy machine a look takes a second."""
_FREEZES_MAX = 150
"""Tries to meet the wanted state; then any delivery in flight will do."""
_HUNT_S_MAX = 60.0
"""How long the uploads through the leader and the wait for a delivery in flight may take together."""
_LOOK_EVERY_S = 0.02
_RUN_ON_S = 0.005, 0.04
"""Bounds of the time between two freezes, in which the deliveries go on."""
_MARGIN = 30
"""This close to the least number of undelivered files any delivery in flight will do, for soon it is too late; or with
two thirds of those left that there were at first, since a busy machine sends a quarter between two looks."""


class Killing(Struct, frozen=True, kw_only=True):
    """How the leader died."""

    node: str
    at: float
    """When, on the monotonic clock."""
    known_at: float
    """When all that it had still caused was done: what arrives after this was sent by another node."""
    killed_at: KillAt
    in_flight: int
    processes: int
    undelivered: int
    freezes: int


class Killer:
    """Waits for the moment, and uses it."""

    def __init__(self, cluster: Cluster, partner: Partner, etcd: EtcdClient, draw: random.Random) -> None:
        self._cluster = cluster
        self._partner = partner
        self._etcd = etcd
        self._draw = draw

    async def kill_leader(
        self,
        wanted: KillAt,
        uploads: Mapping[str, asyncio.Task[None]],
        undelivered: Callable[[], int],
        undelivered_least: int,
    ) -> Killing:
        """Kill the leading node while a delivery is in the wanted state and enough files are not yet delivered.

        `uploads` is node → all uploads through it; those through the leader are let finish first, for they would fail.

        Raises:
            MftError: too few files were left before any delivery was in flight, or none ever was.
        """
        deadline = time.monotonic() + _HUNT_S_MAX
        freezes, first_left = 0, undelivered()
        while True:
            leader = await self._leader_without_uploads(uploads, deadline)
            freezes += 1
            if time.monotonic() > deadline:
                said = self._cluster.nodes[leader].last_line()
                raise MftError(
                    f"no delivery was found in flight within {_HUNT_S_MAX:.0f} s; node {leader} says: {said}"
                )
            left = undelivered()
            if left < undelivered_least:
                raise MftError(f"only {left} files were left to be delivered, before the leader could be killed")
            moment = await self._freeze(leader)
            is_late = freezes >= _FREEZES_MAX or left <= max(undelivered_least + _MARGIN, 2 * first_left // 3)
            if moment and (moment.found(wanted) is wanted or (is_late and moment.in_flight)):
                return await self._kill(leader, wanted, undelivered(), freezes)
            self._cluster.nodes[leader].signal_tree(signal.SIGCONT)
            await asyncio.sleep(self._draw.uniform(*_RUN_ON_S))

    async def _leader_without_uploads(self, uploads: Mapping[str, asyncio.Task[None]], deadline: float) -> str:
        while True:
            leader = (await self._look()).leader
            if leader in uploads and uploads[leader].done():
                return leader
            if time.monotonic() > deadline:
                raise MftError(f"the uploads through the leading node took more than {_HUNT_S_MAX:.0f} s")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _freeze(self, leader: str) -> Moment | None:
        """Freeze all processes of the node and look. None: what is seen is not what a kill would leave behind."""
        program = self._cluster.nodes[leader]
        began = time.monotonic()
        try:
            program.signal_tree(signal.SIGSTOP)
            await asyncio.sleep(_SETTLE_S)
            moment = await self._look()
        except BaseException:
            program.signal_tree(signal.SIGCONT)
            raise
        if moment.leader == leader and moment.is_consumed and time.monotonic() - began < _FREEZE_S_MAX:
            return moment
        return None

    async def _kill(self, leader: str, wanted: KillAt, undelivered: int, freezes: int) -> Killing:
        """Kill the frozen node, and look once more: what counts is how it is with nobody left to change it."""
        at = time.monotonic()
        processes = await self._cluster.nodes[leader].kill()
        await asyncio.sleep(_SETTLE_S)
        moment = await self._look()
        found = moment.found(wanted)
        if found is None:
            raise MftError("nothing was in flight any more when the leader was killed")
        return Killing(
            node=leader,
            at=at,
            known_at=time.monotonic(),
            killed_at=found,
            in_flight=moment.in_flight,
            processes=len(processes),
            undelivered=undelivered,
            freezes=freezes,
        )

    async def _look(self) -> Moment:
        return await look(self._etcd.kv, CLUSTER, TRANSFER, self._cluster.outgoing, self._partner.inbox)
