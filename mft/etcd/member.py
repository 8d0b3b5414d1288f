"""One endpoint: its channel, the token that it gave us, and one attempt at a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic

import grpc
import grpc.aio

from mft.aio import cancellations, give_way
from mft.errors import MftError, Unavailable
from mft.etcd.channel import connected, why_not_connected
from mft.etcd.errors import Fault, classify, translate
from mft.etcd.wire import A, Method, Q


class Failed(Exception):  # noqa: N818 - reads as what became of an attempt
    """An attempt failed. `fault` says what that means for the next one, `error` is what a caller would be told."""

    def __init__(self, fault: Fault, error: MftError) -> None:
        super().__init__(str(error))
        self.fault = fault
        self.error = error


class Stream(Generic[Q, A]):
    """An open bidirectional stream to one member. One task reads, one may write at the same time."""

    def __init__(self, member: Member, call: grpc.aio.StreamStreamCall, doing: str) -> None:
        self._member = member
        self._call = call
        self._doing = doing

    async def write(self, request: Q) -> None:
        """Send one message. Raises `Failed`."""
        since = cancellations()
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            give_way(since)
            raise self._member.failed(error, self._doing) from error
        except asyncio.InvalidStateError as error:  # what grpc raises for a stream that has ended
            give_way(since)
            raise self._member.ended(self._doing, "the stream has ended") from error

    async def read(self) -> A:
        """Wait for the next message. Raises `Failed`, also when the server ended the stream without complaint.

        Cancelling a read cancels the stream: grpc has it so.
        """
        since = cancellations()
        try:
            answer = await self._call.read()
        except grpc.aio.AioRpcError as error:
            give_way(since)  # A cancelled read is answered so where the stream breaks at the same moment.
            raise self._member.failed(error, self._doing) from error
        give_way(since)
        if answer is grpc.aio.EOF:
            raise self._member.ended(self._doing, "the stream was ended by the server")
        message: A = answer
        return message


class Member:
    """One endpoint of the cluster. It owns its channel."""

    def __init__(self, endpoint: str, channel: grpc.aio.Channel) -> None:
        self.endpoint = endpoint
        self.token: str | None = None
        self._channel = channel

    async def connect(self, limit_s: float, doing: str) -> None:
        """Make sure of a connection. Raises `Failed` (never left)."""
        if not await connected(self._channel, limit_s):
            why = await why_not_connected(self._channel, 0.1)
            raise Failed(Fault.NEVER_LEFT, Unavailable(f"{doing}: no connection to etcd at {self.endpoint}: {why}"))

    async def attempt(self, method: Method[Q, A], request: Q, doing: str, limit_s: float) -> A:
        """Make the call once, on a connection that stands. Raises `Failed`."""
        if method.streams:
            return await self._first_answer(method, request, doing, limit_s)
        call = self._channel.unary_unary(method.path, method.request.SerializeToString, method.answer.FromString)
        since = cancellations()
        try:
            answer: A = await call(request, timeout=limit_s, metadata=self._metadata(method))
        except grpc.aio.AioRpcError as error:
            give_way(since)
            raise self.failed(error, doing) from error
        give_way(since)
        return answer

    async def _first_answer(self, method: Method[Q, A], request: Q, doing: str, limit_s: float) -> A:
        async with self.stream(method, doing) as stream:
            try:
                async with asyncio.timeout(limit_s):
                    await stream.write(request)
                    return await stream.read()
            except TimeoutError as error:
                raise self.ended(doing, f"no answer within {limit_s:.1f} s") from error

    @asynccontextmanager
    async def stream(self, method: Method[Q, A], doing: str) -> AsyncIterator[Stream[Q, A]]:
        """Open a bidirectional stream; it is cancelled at the end of the block."""
        opened = self._channel.stream_stream(method.path, method.request.SerializeToString, method.answer.FromString)
        call = opened(metadata=self._metadata(method))
        try:
            yield Stream(self, call, doing)
        finally:
            call.cancel()

    def failed(self, error: grpc.aio.AioRpcError, doing: str) -> Failed:
        """What a status of grpc means."""
        code, details = error.code(), error.details() or ""
        return Failed(classify(code, details), translate(code, details, f"{doing} at {self.endpoint}"))

    def ended(self, doing: str, why: str) -> Failed:
        """A stream ended, or was silent, without a status that says why."""
        return Failed(Fault.TRANSPORT, Unavailable(f"{doing} at {self.endpoint}: {why}"))

    async def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        await self._channel.close()

    def _metadata(self, method: Method[Q, A]) -> tuple[tuple[str, str], ...]:
        # `hasleader`: a member that is cut off from its quorum must say so instead of going silent. The token goes with
        # every call, keep-alive and member list included: newer servers refuse them without.
        leader = (("hasleader", "true"),) if method.needs_leader else ()
        return (*leader, ("token", self.token)) if self.token else leader
