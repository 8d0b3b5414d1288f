"""One watch on one stream to one member: created, fed with progress requests, joined from fragments, ended honestly.

One stream per watch: on a shared one a refused watch can take a healthy one with it (etcd before 3.5.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, Self

import grpc

from mft.errors import Unavailable
from mft.etcd.beside import beside
from mft.etcd.endpoints import Endpoints
from mft.etcd.errors import Compacted, Fault, classify, translate
from mft.etcd.member import Failed, Stream
from mft.etcd.records import Header, KeyValue
from mft.etcd.wire import WATCH
from mft.pb.etcd import v3_pb2 as pb


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchTimes:
    """How a watch keeps itself true, in seconds."""

    progress_s: float = 5.0
    """The server is asked this often how far it is: proof of life while nothing changes."""
    silence_s: float = 15.0
    """Without any message for so long, the next member is tried."""
    relist_s: float = 600.0
    """Everything is read anew after this time ± 50 %, whatever the stream says: a cheap safety net."""
    backoff_first_s: float = 0.2
    backoff_most_s: float = 30.0


class Change(NamedTuple):
    """One key written or deleted. A deleted one has its mod revision, but neither value nor create revision."""

    kv: KeyValue
    deleted: bool

    @classmethod
    def of(cls, message: pb.Event) -> Self:
        """Read it from an answer."""
        return cls(KeyValue.of(message.kv), message.type == pb.Event.DELETE)


class Batch(NamedTuple):
    """What one message brought; no changes: it only proves that the server is alive, and says how far it is."""

    header: Header
    changes: tuple[Change, ...]


class WatchStream:
    """An open watch. Read it with `next_batch` from one task."""

    def __init__(self, stream: Stream[pb.WatchRequest, pb.WatchResponse], doing: str, silence_s: float) -> None:
        self._stream = stream
        self._doing = doing
        self._silence_s = silence_s

    async def next_batch(self) -> Batch:
        """Wait for the next whole message. Raises `Compacted`, or `Failed` for all else that ends the stream."""
        changes: list[Change] = []
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    response = await self._stream.read()
            except TimeoutError as error:
                silent = Unavailable(f"{self._doing}: etcd said nothing for {self._silence_s:g} s")
                raise Failed(Fault.TRANSPORT, silent) from error
            # Before `created`, because a refused watch is answered with both.
            if response.canceled:
                raise _cancelled(response, self._doing)
            changes += map(Change.of, response.events)
            if not response.fragment:
                return Batch(Header.of(response.header), tuple(changes))


def _cancelled(response: pb.WatchResponse, doing: str) -> Exception:
    reason = response.cancel_reason or "no reason given"
    if response.compact_revision or "compacted" in reason:
        return Compacted(f"{doing}: the history from there on is compacted", response.compact_revision)
    denied = "permission denied" in reason.lower()
    code = grpc.StatusCode.PERMISSION_DENIED if denied else grpc.StatusCode.UNAVAILABLE
    return Failed(classify(code, reason), translate(code, reason, doing))


@asynccontextmanager
async def open_watch(
    endpoints: Endpoints, key: bytes, range_end: bytes, from_revision: int, *, doing: str, times: WatchTimes
) -> AsyncIterator[WatchStream]:
    """Watch a key, or a range, on the current member, from a revision on, for as long as the block runs."""
    create = pb.WatchCreateRequest(key=key, range_end=range_end, start_revision=from_revision, fragment=True)
    async with (
        endpoints.stream(WATCH, doing) as stream,
        beside(_feed(stream, create, times.progress_s), name="watch:progress"),
    ):
        yield WatchStream(stream, doing, times.silence_s)


async def _feed(
    stream: Stream[pb.WatchRequest, pb.WatchResponse], create: pb.WatchCreateRequest, progress_s: float
) -> None:
    """Ask for the watch, then for progress; what goes wrong is the reader's to see."""
    try:
        await stream.write(pb.WatchRequest(create_request=create))
        while True:
            await asyncio.sleep(progress_s)
            await stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
    except Failed:
        pass
