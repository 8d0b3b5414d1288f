"""The controller's side of the links: lets agents in that prove who they are, stores their events, asks them things."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, NoReturn

import grpc
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mft.aio import Latest
from mft.cluster.linking import Claim, proves
from mft.controller.deliveries import DeliveryStore
from mft.controller.deliveries_rows import Arrived
from mft.errors import Conflict, Denied, Exhausted, Invalid, MftError, NotFound, Unavailable
from mft.pb.link.v1 import link_pb2 as pb
from mft.pb.link.v1 import link_pb2_grpc as pb_grpc

ANSWER_S_MAX = 15.0
STILL_S = 2.0
PROVE_S_MAX = 10.0
UNPROVEN_MAX = 200
"""Streams that have not proven themselves yet; more are turned away at once."""

_KINDS: Mapping[str, type[MftError]] = {
    kind.__name__: kind for kind in (Invalid, NotFound, Conflict, Denied, Exhausted, Unavailable)
}

KeyOf = Callable[[str], Awaitable[bytes]]
"""Node → the public key with which it joined; raises `Denied` or `NotFound` if none is admitted under this name."""


class Session:
    """One agent's open stream."""

    def __init__(self, hello: pb.Hello, context: Any) -> None:
        self.name = hello.name
        self.boot = hello.boot
        self.spool = hello.spool
        self.progress: Latest[pb.Progress] = Latest(pb.Progress())
        """The newest that it told, while somebody looks."""
        self.ended = asyncio.Event()
        self._context = context
        self._writing = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[pb.Answer]] = {}

    async def send(self, message: pb.FromController) -> None:
        """Send one message. Raises `Unavailable` if the stream has ended."""
        async with self._writing:
            try:
                await self._context.write(message)
            except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError) as error:
                raise Unavailable(f"the link to {self.name} has ended") from error

    async def ask(self, request: pb.Request, limit_s: float = ANSWER_S_MAX) -> pb.Answer:
        """Ask and wait for the answer. Raises what the agent raised, or `Unavailable` if none comes."""
        request.id = next(self._numbers)
        answer: asyncio.Future[pb.Answer] = asyncio.get_running_loop().create_future()
        self._asked[request.id] = answer
        try:
            async with asyncio.timeout(limit_s):
                await self.send(pb.FromController(request=request))
                given = await answer
        except TimeoutError as error:
            raise Unavailable(
                f"{self.name} did not answer within {limit_s:g} s; whether it was done is unknown"
            ) from error
        finally:
            del self._asked[request.id]
        if given.error:
            raise _KINDS.get(given.kind, MftError)(given.error, code=given.code or None)
        return given

    def answered(self, answer: pb.Answer) -> None:
        """Give an answer to whoever waits for it."""
        future = self._asked.get(answer.id)
        if future is not None and not future.done():
            future.set_result(answer)

    def end(self) -> None:
        """Note that the stream is over: nobody gets an answer any more."""
        self.ended.set()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(Unavailable(f"the link to {self.name} broke; whether it was done is unknown"))


class Links:
    """The agents that are linked now, by name."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._watchers = 0
        self.changed = Latest(0)
        """Counts how often an agent came or went."""

    def session(self, name: str) -> Session:
        """Give an agent's stream.

        Raises:
            Unavailable: there is none.
        """
        session = self._sessions.get(name)
        if session is None:
            raise Unavailable(
                f"{name} has no link to this controller now; look at its log, and at `mft-admin nodes list`"
            )
        return session

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All that are linked now."""
        return tuple(self._sessions.values())

    @asynccontextmanager
    async def holding(self, session: Session) -> AsyncIterator[None]:
        """Have this stream among the links while the block runs; one of the same name gives way."""
        self._sessions[session.name] = session
        self._tell()
        try:
            await self._set_watch(session)
            yield
        finally:
            if self._sessions.get(session.name) is session:
                del self._sessions[session.name]
            session.end()
            self._tell()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Have every agent send its progress while the block runs."""
        self._watchers += 1
        await self._set_watches()
        try:
            yield
        finally:
            self._watchers -= 1
            await self._set_watches()

    async def _set_watches(self) -> None:
        if self._watchers > 1:
            return
        for session in self.sessions:
            await self._set_watch(session)

    async def _set_watch(self, session: Session) -> None:
        on = self._watchers > 0
        if not on:
            session.progress.set(pb.Progress())
        try:
            await session.send(pb.FromController(watch=pb.Watch(on=on)))
        except Unavailable:
            pass  # Its stream ends by itself.

    def _tell(self) -> None:
        self.changed.set(self.changed.value + 1)


class LinkService(pb_grpc.LinkServiceServicer):
    """What agents attach to."""

    def __init__(self, cluster: str, certificate: bytes, key_of: KeyOf, store: DeliveryStore, links: Links) -> None:
        self._cluster = cluster
        self._certificate = certificate
        self._key_of = key_of
        self._store = store
        self._links = links
        self._unproven = 0
        self._log = structlog.get_logger()

    async def Attach(  # type: ignore[override]  # noqa: N802 - read and written through the context
        self, request_iterator: Any, context: Any
    ) -> None:
        """Serve one agent until its stream ends."""
        session = await self._let_in(context)
        try:
            stored = await self._store.stored(session.name, session.spool)
            await session.send(pb.FromController(welcome=pb.Welcome(stored=stored)))
            self._log.info("an instance is linked", instance=session.name)
            async with self._links.holding(session):
                await self._serve(session, context)
        except MftError as error:
            self._log.warning("a link is ended", instance=session.name, reason=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, error.message[:500])
        finally:
            self._log.info("an instance is not linked any more", instance=session.name)

    async def _serve(self, session: Session, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            match message.WhichOneof("what"):
                case "events":
                    events = [_arrived(event) for event in message.events.events]
                    stored = await self._store.add(session.name, session.spool, events)
                    await session.send(pb.FromController(stored=pb.Stored(sequence=stored)))
                case "answer":
                    session.answered(message.answer)
                case "progress":
                    session.progress.set(message.progress)
                case _:
                    pass  # Of a newer agent.

    async def _let_in(self, context: Any) -> Session:
        """Have the agent prove itself, or turn it away with a line in the log."""
        if self._unproven >= UNPROVEN_MAX:
            await self._refuse(context, "?", "too many at once have not proven themselves", grpc.StatusCode.UNAVAILABLE)
        self._unproven += 1
        name = "?"
        try:
            async with asyncio.timeout(PROVE_S_MAX):
                own = X25519PrivateKey.generate()
                public = own.public_key().public_bytes_raw()
                await context.write(pb.FromController(challenge=pb.Challenge(public_key=public)))
                message = await context.read()
                if message is grpc.aio.EOF or message.WhichOneof("what") != "hello":
                    raise Denied("it says nothing of itself")
                hello = message.hello
                name = hello.name[:200]
                await self._check(hello, own, public)
                return Session(hello, context)
        except (TimeoutError, Unavailable) as error:
            why = str(error) or "it did not prove itself in time"
            await self._refuse(context, name, why, grpc.StatusCode.UNAVAILABLE)
        except MftError as error:
            await self._refuse(context, name, error.message, grpc.StatusCode.PERMISSION_DENIED)
        finally:
            self._unproven -= 1
        raise AssertionError("turning away raises")

    async def _check(self, hello: pb.Hello, own: X25519PrivateKey, challenge: bytes) -> None:
        """Raise `Denied` unless this is the agent that it says it is."""
        admitted = await self._key_of(hello.name)
        if admitted != hello.public_key:
            raise Denied("it has another key than the one that was admitted under this name")
        claim = Claim(self._cluster, hello.name, hello.role, hello.boot, hello.spool, self._certificate)
        if not proves(hello.proof, claim.proof(own, admitted, admitted, challenge)):
            raise Denied("its proof is wrong: it does not have the key that was admitted under this name")

    async def _refuse(self, context: Any, name: str, why: str, status: grpc.StatusCode) -> NoReturn:
        self._log.warning("a link is refused", instance=name, peer=context.peer(), reason=why)
        await context.abort(status, why[:500])
        raise AssertionError("abort raises")


def _arrived(event: pb.Event) -> Arrived:
    try:
        fields = msgspec.json.decode(event.fields)
    except msgspec.DecodeError:
        try:
            fields = json.loads(event.fields)  # A file name that is no UTF-8.
        except ValueError:
            fields = {}
    return Arrived(
        event.sequence,
        event.id,
        event.at,
        event.severity,
        event.text,
        fields if isinstance(fields, dict) else {},
    )


async def progress_of(links: Links, every_s: float) -> AsyncGenerator[dict[str, pb.Progress], None]:
    """Yield what all agents have under way, whenever it changed, at most so often. Shape: instance → its runs.

    While there are runs also without a change, now and then: that nothing moves is to be seen as well.
    """
    told, told_at = None, 0.0
    async with links.watching(), aclosing(links.changed.follow(every_s=every_s)) as turns:
        async for _ in turns:
            now = {session.name: session.progress.value for session in links.sessions}
            seen = {name: progress.SerializeToString(deterministic=True) for name, progress in now.items()}
            is_still = any(progress.runs for progress in now.values()) and time.monotonic() - told_at >= STILL_S
            if seen != told or is_still:
                told, told_at = seen, time.monotonic()
                yield now
