"""The servers themselves: status, members, alarms, and which of etcd's versions are fit for this work."""

from __future__ import annotations

import asyncio
import enum
import re
from typing import Final, NamedTuple

import structlog

from mft.aio import backoff
from mft.errors import Invalid, MftError
from mft.etcd.endpoints import Effect, Endpoints
from mft.etcd.records import Header
from mft.etcd.wire import ALARM, MEMBER_LIST, STATUS
from mft.pb.etcd import v3_pb2 as pb


class Status(NamedTuple):
    """One member about itself. `leader_id` 0: it knows of no leader."""

    header: Header
    endpoint: str
    version: str
    leader_id: int
    is_learner: bool
    size_bytes: int
    used_bytes: int
    errors: tuple[str, ...]


class ClusterMember(NamedTuple):
    """One member as the cluster knows it. A member that has not started yet has no name."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


class Alarm(NamedTuple):
    """A standing alarm: `NOSPACE` (no write and no new lease until an operator acts) or `CORRUPT`."""

    member_id: int
    kind: str


class Fitness(enum.Enum):
    """What to do with a server of some version."""

    FIT = "fit"
    OLD = "old"
    REFUSED = "refused"


class Verdict(NamedTuple):
    """Whether a server's version is fit, and why not, for the operator."""

    fitness: Fitness
    why: str


_CORRUPTING_FROM: Final = (3, 5, 0)
_CORRUPTING_TO: Final = (3, 5, 2)
_FIXED_FROM: Final = (3, 5, 28)


def judge_version(version: str) -> Verdict:
    """Say whether a server that reports this version may be used.

    3.5.0–3.5.2 may silently lose what they acknowledged (etcd #13766): refused. Before 3.5.28 renewals and watches have
    known defects and any node may lift the access control (CVE-2026-33413): usable for development, warned about.
    """
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version.strip())
    if found is None:
        return Verdict(Fitness.OLD, f"the version {version!r} of etcd is not understood; 3.5.28 or later is needed")
    numbers = tuple(map(int, found.groups()))
    if _CORRUPTING_FROM <= numbers <= _CORRUPTING_TO:
        return Verdict(Fitness.REFUSED, f"etcd {version} may lose acknowledged data; upgrade it to 3.5.28 or later")
    if numbers < _FIXED_FROM:
        return Verdict(Fitness.OLD, f"etcd {version} has known defects; upgrade it to 3.5.28 or later")
    return Verdict(Fitness.FIT, "")


class Servers:
    """The calls of an `EtcdClient` that ask about the servers. Errors: see `mft.etcd.errors`."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def status(self, endpoint: str | None = None) -> Status:
        """Ask one endpoint (as listed in `targets`) about itself, once; by default the one now in use."""
        target = endpoint or self._endpoints.current.endpoint
        doing = f"ask etcd at {target} for its status"
        answer = await self._endpoints.call_member(target, STATUS, pb.StatusRequest(), doing)
        return Status(
            header=Header.of(answer.header),
            endpoint=target,
            version=answer.version,
            leader_id=answer.leader,
            is_learner=answer.isLearner,
            size_bytes=answer.dbSize,
            used_bytes=answer.dbSizeInUse,
            errors=tuple(answer.errors),
        )

    async def check_version(self) -> None:
        """Wait until a server answers, however long that takes, and look at its version: an old one is warned about.

        Raises `Invalid` for one that may lose data.
        """
        log = structlog.get_logger()
        for wait_s in backoff(0.5, 10.0):
            try:
                status = await self.status()
            except MftError as error:
                log.warning("etcd cannot be reached, trying again", reason=str(error))
                await asyncio.sleep(wait_s)
                continue
            verdict = judge_version(status.version)
            if verdict.fitness is Fitness.REFUSED:
                raise Invalid(verdict.why)
            if verdict.fitness is Fitness.OLD:
                log.warning(verdict.why)
            return

    async def members(self) -> tuple[ClusterMember, ...]:
        """The cluster's members."""
        answer = await self._endpoints.call(MEMBER_LIST, pb.MemberListRequest(), "list etcd's members", Effect.READ)
        return tuple(
            ClusterMember(member.ID, member.name, tuple(member.peerURLs), tuple(member.clientURLs), member.isLearner)
            for member in answer.members
        )

    async def alarms(self) -> tuple[Alarm, ...]:
        """The standing alarms."""
        answer = await self._endpoints.call(ALARM, pb.AlarmRequest(), "list etcd's alarms", Effect.READ)
        return tuple(Alarm(alarm.memberID, pb.AlarmType.Name(alarm.alarm)) for alarm in answer.alarms)
