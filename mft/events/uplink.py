"""One stream from this instance to one controller: events up, requests down, answers and live progress up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
import grpc.aio

from mft.aio import Latest, cancellations, first_error, give_way, is_only
from mft.errors import Denied, MftError, Unavailable
from mft.etcd.channel import CHANNEL_OPTIONS, connected
from mft.events.spool import BATCH_EVENTS_MAX, Spool
from mft.events.spool_files import Line
from mft.pb.link.v1 import link_pb2 as pb
from mft.pb.link.v1 import link_pb2_grpc as pb_grpc

CONNECT_S_MAX = 5.0
"""For each of the controller's addresses."""
PROVE_S_MAX = 10.0
STORED_S_MAX = 60.0
"""How long a controller may take to store one batch."""
PROGRESS_S = 0.5
"""Between two reports of progress, while somebody looks."""
_GATHER_S = 0.05
"""How long events wait for others to be sent and stored with them; a full batch waits for none."""
REQUESTS_MAX = 64
"""Requests worked on at one time; a controller that asks more is not read for a while."""


class Peer(NamedTuple):
    """A controller as it announced itself."""

    name: str
    server_name: str
    """The name in its certificate."""
    addresses: tuple[str, ...]
    port: int
    certificate: bytes
    """PEM: the only one that is believed."""


class Uplink:
    """The link to one controller, for as long as that can be reached."""

    def __init__(
        self,
        peer: Peer,
        spool: Spool,
        *,
        hello: Callable[[bytes], pb.Hello],
        answer: Callable[[pb.Request], Awaitable[pb.Answer]],
        progress: Callable[[], pb.Progress],
    ) -> None:
        self._peer = peer
        self._spool = spool
        self._hello = hello
        self._answer = answer
        self._progress = progress
        self._watched = Latest(False)
        self._stored = Latest(0)
        self._writing = asyncio.Lock()
        self._free = asyncio.Semaphore(REQUESTS_MAX)

    async def run(self, attached: Callable[[], None]) -> None:
        """Connect, prove, and serve until the stream ends; call `attached` once the controller has let us in.

        Raises:
            Denied: the controller does not know this instance by its key.
            Unavailable: it cannot be reached, or the stream ended.
        """
        credentials = grpc.ssl_channel_credentials(self._peer.certificate)
        options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", self._peer.server_name))
        for address in self._peer.addresses:
            host = f"[{address}]" if ":" in address else address
            async with grpc.aio.secure_channel(f"{host}:{self._peer.port}", credentials, options=options) as channel:
                if await connected(channel, CONNECT_S_MAX):
                    await self._attach(channel, attached)
        tried = ", ".join(self._peer.addresses)
        raise Unavailable(f"controller {self._peer.name} cannot be reached at {tried}, port {self._peer.port}")

    async def _attach(self, channel: Any, attached: Callable[[], None]) -> None:
        """Serve one stream; ends only by an error."""
        call = pb_grpc.LinkServiceStub(channel).Attach()
        try:
            async with asyncio.timeout(PROVE_S_MAX):
                challenge = await self._read(call)
                await self._write(call, pb.FromAgent(hello=self._hello(challenge.challenge.public_key)))
                welcome = await self._read(call)
            attached()
            await self._serve(call, welcome.welcome.stored)
        except TimeoutError as error:
            raise Unavailable(f"controller {self._peer.name} did not answer within {PROVE_S_MAX:g} s") from error
        finally:
            call.cancel()

    async def _serve(self, call: Any, stored: int) -> None:
        await self._spool.stored(self._peer.name, stored)
        self._stored.set(stored)
        self._watched.set(False)
        since = cancellations()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_events(call), name=f"uplink:{self._peer.name}:events")
                tasks.create_task(self._send_progress(call), name=f"uplink:{self._peer.name}:progress")
                while True:
                    message = await self._read(call)
                    match message.WhichOneof("what"):
                        case "stored":
                            await self._spool.stored(self._peer.name, message.stored.sequence)
                            self._stored.set(message.stored.sequence)
                        case "watch":
                            self._watched.set(message.watch.on)
                        case "request":
                            await self._free.acquire()
                            name = f"uplink:{self._peer.name}:request:{message.request.id}"
                            tasks.create_task(self._respond(call, message.request), name=name)
                        case _:
                            pass  # Of a newer controller.
        except BaseExceptionGroup as group:
            give_way(since)
            if not is_only(group, MftError):
                raise
            raise first_error(group) from group

    async def _send_events(self, call: Any) -> None:
        """Send what the controller has not stored yet, batch after batch, each when the one before is stored."""
        while True:
            stored = self._stored.value
            await self._spool.beyond(stored)
            if self._spool.end - stored < BATCH_EVENTS_MAX:
                await asyncio.sleep(_GATHER_S)
            lines = await self._spool.after(stored)
            events = pb.Events(events=[_event(line) for line in lines])
            await self._write(call, pb.FromAgent(events=events))
            last = lines[-1].sequence
            try:
                async with asyncio.timeout(STORED_S_MAX), contextlib.aclosing(self._stored.follow()) as numbers:
                    async for number in numbers:
                        if number >= last:
                            break
            except TimeoutError as error:
                raise Unavailable(f"controller {self._peer.name} stores no events") from error

    async def _send_progress(self, call: Any) -> None:
        """While somebody looks, send what the runs have done, whenever it changed."""
        async for watched in self._watched.follow():
            if watched:
                await self._report_until_unwatched(call)

    async def _report_until_unwatched(self, call: Any) -> None:
        told: bytes | None = None
        while self._watched.value:
            progress = self._progress()
            now = progress.SerializeToString(deterministic=True)
            if now != told:
                told = now
                await self._write(call, pb.FromAgent(progress=progress))
            await asyncio.sleep(PROGRESS_S)

    async def _respond(self, call: Any, request: pb.Request) -> None:
        """Answer one request. The border where its failure ends."""
        try:
            try:
                answer = await self._answer(request)
            except MftError as error:
                answer = pb.Answer(error=error.message, kind=type(error).__name__, code=error.stable_code)
            answer.id = request.id
            await self._write(call, pb.FromAgent(answer=answer))
        finally:
            self._free.release()

    async def _write(self, call: Any, message: pb.FromAgent) -> None:
        since = cancellations()
        async with self._writing:
            try:
                await call.write(message)
            except grpc.aio.AioRpcError as error:
                give_way(since)
                raise self._translated(error) from error
            except asyncio.InvalidStateError as error:
                give_way(since)
                # The stream has ended; the reading side says why, if anybody knows.
                raise Unavailable(f"the link to controller {self._peer.name} has ended") from error

    async def _read(self, call: Any) -> pb.FromController:
        since = cancellations()
        try:
            message = await call.read()
        except grpc.aio.AioRpcError as error:
            give_way(since)  # A cancelled read is answered so where the stream breaks at the same moment.
            raise self._translated(error) from error
        if message is grpc.aio.EOF:
            raise Unavailable(f"controller {self._peer.name} ended the link")
        assert isinstance(message, pb.FromController)
        return message

    def _translated(self, error: Any) -> MftError:
        details = (error.details() or error.code().name).splitlines()[0][:300]
        if error.code() in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}:
            return Denied(f"controller {self._peer.name} refuses this instance: {details}", code="MFT-JOIN-1002")
        return Unavailable(f"the link to controller {self._peer.name} broke: {details}")


def _event(line: Line) -> pb.Event:
    return pb.Event(
        sequence=line.sequence,
        id=line.id,
        at=line.at,
        severity=line.severity,
        text=line.text.encode("utf-8", "backslashreplace").decode(),
        fields=bytes(line.fields),
    )
