"""Keys and values: read, write, delete, and transactions, which alone decide anything.

Reads are linearizable unless asked otherwise. Yet decide by a transaction's comparison, never by a read before it: a
server that was frozen may answer a linearizable read from its past (etcd #20418).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mft.errors import Exhausted
from mft.etcd.endpoints import Effect, Endpoints
from mft.etcd.errors import Compacted
from mft.etcd.ops import Condition, Operation
from mft.etcd.records import Deleted, Got, Header, KeyValue, Listing, TxnResult, Written, encode_key, prefix_range
from mft.etcd.wire import COMPACT, DELETE_RANGE, PUT, RANGE, TXN
from mft.pb.etcd import v3_pb2 as pb

PAGE_KEYS: Final = 512
_LISTING_TRIES: Final = 3
_NAMED_MAX: Final = 16
"""Operations of a transaction whose keys a message counts."""


class Kv:
    """The key-value calls of an `EtcdClient`. Errors: see `mft.etcd.errors`."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def get(
        self, key: str, *, revision: int = 0, serializable: bool = False, limit_s: float | None = None
    ) -> Got:
        """Read one key, now or as it was at `revision`. `serializable`: whatever the member asked has, maybe old."""
        request = pb.RangeRequest(key=encode_key(key), revision=revision, serializable=serializable)
        answer = await self._endpoints.call(RANGE, request, f"read {key}", Effect.READ, limit_s=limit_s)
        return Got(Header.of(answer.header), KeyValue.of(answer.kvs[0]) if answer.kvs else None)

    async def get_prefix(self, prefix: str, *, revision: int = 0, keys_only: bool = False) -> Listing:
        """Read all keys with the prefix, in key order, as of one revision, however many pages that takes.

        Raises `Compacted` if the `revision` asked for is gone, or if compaction keeps overtaking the paging.
        """
        for _ in range(_LISTING_TRIES - 1):
            try:
                return await self._pages(prefix, revision, keys_only)
            except Compacted:
                if revision:
                    raise
        return await self._pages(prefix, revision, keys_only)

    async def _pages(self, prefix: str, revision: int, keys_only: bool) -> Listing:
        start, end = prefix_range(prefix)
        page_max = PAGE_KEYS
        kvs: list[KeyValue] = []
        while True:
            request = pb.RangeRequest(key=start, range_end=end, limit=page_max, revision=revision, keys_only=keys_only)
            try:
                answer = await self._endpoints.call(RANGE, request, f"list {prefix}", Effect.READ)
            except Exhausted:
                if page_max == 1:
                    raise
                page_max //= 2  # The page is larger than a message may be.
                continue
            header = Header.of(answer.header)
            # The later pages are read as of the first one's revision.
            revision = revision or header.revision
            kvs += map(KeyValue.of, answer.kvs)
            if not answer.more:
                return Listing(header, tuple(kvs), revision, len(kvs))
            start = answer.kvs[-1].key + b"\0"

    async def count_prefix(self, prefix: str) -> int:
        """How many keys have the prefix."""
        start, end = prefix_range(prefix)
        request = pb.RangeRequest(key=start, range_end=end, count_only=True)
        return (await self._endpoints.call(RANGE, request, f"count {prefix}", Effect.READ)).count

    async def put(self, key: str, value: bytes, *, lease: int = 0, idempotent: bool = False) -> Written:
        """Write one key. `idempotent`: to write it twice does no harm, so repeat it where the answer is missing."""
        request = pb.PutRequest(key=encode_key(key), value=value, lease=lease)
        answer = await self._endpoints.call(PUT, request, f"write {key}", _effect(idempotent))
        return Written(Header.of(answer.header))

    async def delete(self, key: str, *, idempotent: bool = False) -> Deleted:
        """Delete one key, if it is there."""
        request = pb.DeleteRangeRequest(key=encode_key(key))
        answer = await self._endpoints.call(DELETE_RANGE, request, f"delete {key}", _effect(idempotent))
        return Deleted(Header.of(answer.header), answer.deleted)

    async def delete_prefix(self, prefix: str, *, idempotent: bool = False) -> Deleted:
        """Delete every key with the prefix."""
        start, end = prefix_range(prefix)
        request = pb.DeleteRangeRequest(key=start, range_end=end)
        answer = await self._endpoints.call(DELETE_RANGE, request, f"delete {prefix}*", _effect(idempotent))
        return Deleted(Header.of(answer.header), answer.deleted)

    async def txn(
        self,
        when: Sequence[Condition],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
        *,
        idempotent: bool = False,
        limit_s: float | None = None,
    ) -> TxnResult:
        """If all of `when` holds do `then`, else `otherwise`, all at one revision; say which and what it gave.

        Raises `OutcomeUnknown` if the answer is missing, unless `idempotent`: then it is repeated. A repeated create
        or compare-and-swap that was in fact applied the first time comes back as not succeeded, so its caller must
        recognise its own value.
        """
        request = pb.TxnRequest(
            compare=[condition.message for condition in when],
            success=[operation.message() for operation in then],
            failure=[operation.message() for operation in otherwise],
        )
        doing = f"transaction on {_names([*then, *otherwise])}"
        return TxnResult.of(await self._endpoints.call(TXN, request, doing, _effect(idempotent), limit_s=limit_s))

    async def compact(self, revision: int, *, physical: bool = False) -> None:
        """Forget the history before `revision`. Raises `Compacted` if it is forgotten already."""
        request = pb.CompactionRequest(revision=revision, physical=physical)
        await self._endpoints.call(COMPACT, request, f"compact to revision {revision}", Effect.IDEMPOTENT)


def _effect(idempotent: bool) -> Effect:
    return Effect.IDEMPOTENT if idempotent else Effect.WRITE


def _names(operations: Sequence[Operation]) -> str:
    """The keys concerned, for messages: two by name, the others by number."""
    if len(operations) > _NAMED_MAX:
        return f"{operations[0][0]} and others, {len(operations)} operations"
    keys = list(dict.fromkeys(operation[0] for operation in operations))
    more = f" and {len(keys) - 2} more" if len(keys) > 2 else ""
    return ", ".join(keys[:2]) + more or "no keys"
