"""Leases: keys that hang on one disappear when it ends. `keeper.py` holds one for a process."""

from __future__ import annotations

from typing import NamedTuple

from mft.errors import NotFound
from mft.etcd.endpoints import Effect, Endpoints
from mft.etcd.records import decode_key
from mft.etcd.wire import LEASE_GRANT, LEASE_KEEP_ALIVE, LEASE_REVOKE, LEASE_TIME_TO_LIVE
from mft.pb.etcd import v3_pb2 as pb


class Lease(NamedTuple):
    """A lease as etcd gave it; the server may have made the TTL longer than asked (its least is 2 s by default)."""

    id: int
    ttl_s: int


class LeaseDetails(NamedTuple):
    """What is left of a lease, and what hangs on it."""

    id: int
    left_s: int
    granted_s: int
    keys: tuple[str, ...]


def lease_hex(lease_id: int) -> str:
    """A lease's number as election keys carry it."""
    return f"{lease_id:x}"


class Leases:
    """The lease calls of an `EtcdClient`. Errors: see `mft.etcd.errors`."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def grant(self, ttl_s: int, *, limit_s: float | None = None) -> Lease:
        """Make a lease. If an answer is lost and the call repeated, an unused lease is left to expire by itself."""
        request = pb.LeaseGrantRequest(TTL=ttl_s)
        doing = f"grant a lease of {ttl_s} s"
        answer = await self._endpoints.call(LEASE_GRANT, request, doing, Effect.IDEMPOTENT, limit_s=limit_s)
        return Lease(answer.ID, answer.TTL)

    async def renew(self, lease_id: int, *, limit_s: float | None = None) -> int:
        """Renew the lease once; give the seconds it now lives. Raises `NotFound` if it has ended.

        An old etcd leader may say "renewed" of a lease that is gone (etcd #15247): success here is no proof of anything
        that hangs on the lease. A transaction that compares the key is.
        """
        request = pb.LeaseKeepAliveRequest(ID=lease_id)
        doing = f"renew lease {lease_hex(lease_id)}"
        answer = await self._endpoints.call(LEASE_KEEP_ALIVE, request, doing, Effect.IDEMPOTENT, limit_s=limit_s)
        if answer.TTL <= 0:
            raise NotFound(f"{doing}: it has ended")
        return answer.TTL

    async def revoke(self, lease_id: int) -> None:
        """End the lease and delete its keys. One that has ended already is as good."""
        doing = f"revoke lease {lease_hex(lease_id)}"
        try:
            await self._endpoints.call(LEASE_REVOKE, pb.LeaseRevokeRequest(ID=lease_id), doing, Effect.IDEMPOTENT)
        except NotFound:
            pass

    async def time_to_live(self, lease_id: int) -> LeaseDetails:
        """Look a lease up, with its keys. Raises `NotFound` if it has ended."""
        request = pb.LeaseTimeToLiveRequest(ID=lease_id, keys=True)
        doing = f"look up lease {lease_hex(lease_id)}"
        answer = await self._endpoints.call(LEASE_TIME_TO_LIVE, request, doing, Effect.READ)
        if answer.TTL <= 0:
            raise NotFound(f"{doing}: it has ended")
        return LeaseDetails(answer.ID, answer.TTL, answer.grantedTTL, tuple(map(decode_key, answer.keys)))
