"""The members of one etcd cluster as this client sees them: which to ask, when to ask again, and logging in.

One channel per endpoint and explicit rotation: every call goes to the current member until that one fails, then to the
next in the order given. What may be repeated:

- a read, after any transport fault;
- a write only if it provably never left: no connection, or etcd said "no leader" before proposing it;
- a write that its caller calls idempotent, like a read.

Any other write whose answer does not come is `OutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from mft.aio import backoff
from mft.errors import Invalid
from mft.etcd.channel import TlsOptions, open_channel, parse_endpoint
from mft.etcd.errors import Fault, OutcomeUnknown
from mft.etcd.member import Failed, Member, Stream
from mft.etcd.wire import AUTHENTICATE, A, Method, Q
from mft.pb.etcd import v3_pb2 as pb


class Effect(enum.Enum):
    """What repeating a call would do."""

    READ = "read"
    WRITE = "write"
    IDEMPOTENT = "idempotent write"


@dataclass(frozen=True, kw_only=True, slots=True)
class CallTimes:
    """How long calls may take, in seconds."""

    call_s: float = 5.0
    """One call with all its repetitions: long enough for etcd to elect a new leader."""
    attempt_s: float = 2.0
    """One attempt of what may be repeated, before the next member is asked."""
    connect_s: float = 2.0
    """Waiting for one member's connection."""


class Credentials(NamedTuple):
    """An etcd user with a password. Users with a client certificate need none."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"


class Endpoints:
    """The cluster's members, in the order given. An async context manager that owns their channels."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TlsOptions | None,
        credentials: Credentials | None,
        times: CallTimes,
    ) -> None:
        if not endpoints:
            raise Invalid("no etcd endpoint is given: at least one host:port is needed")
        self._targets = [parse_endpoint(endpoint, tls=tls is not None) for endpoint in endpoints]
        self._tls = tls
        self._credentials = credentials
        self._times = times
        self._members: list[Member] = []
        self._turn = 0

    async def __aenter__(self) -> Endpoints:
        credentials = await self._tls.credentials() if self._tls else None
        name = self._tls.server_name if self._tls else None
        self._members = [Member(target, open_channel(target, credentials, name)) for target in self._targets]
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self._members:
            await member.close()
        self._members = []

    @property
    def targets(self) -> tuple[str, ...]:
        """Every endpoint, `host:port`."""
        return tuple(self._targets)

    @property
    def current(self) -> Member:
        """The member that the next call goes to."""
        assert self._members, "the client is used outside its `async with` block"
        return self._members[self._turn % len(self._members)]

    def rotate(self, away_from: Member) -> None:
        """Go on to the next member, unless somebody else already did."""
        if self.current is away_from:
            self._turn += 1

    async def call(
        self, method: Method[Q, A], request: Q, doing: str, effect: Effect, *, limit_s: float | None = None
    ) -> A:
        """Make the call on whichever member answers, within `limit_s`. `doing` begins every error's message.

        Raises whatever `mft.etcd.errors` lists.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + (limit_s or self._times.call_s)
        progress = _Progress(effect, len(self._members), logs_in=self.logs_in)
        while True:
            member = self.current
            try:
                return await self._attempt(member, method, request, doing, effect=effect, left_s=end - clock())
            except Failed as failed:
                wait_s = progress.after(failed)
                if progress.moves_on(failed):
                    self.rotate(member)
                if wait_s is None or clock() + wait_s >= end:
                    raise progress.verdict(failed, doing) from failed
                member.token = None if failed.fault in {Fault.TOKEN, Fault.DENIED} else member.token
            await asyncio.sleep(wait_s)

    async def call_member(self, endpoint: str, method: Method[Q, A], request: Q, doing: str) -> A:
        """Make a call that asks one member about itself, once."""
        member = next(member for member in self._members if member.endpoint == endpoint)
        try:
            return await self._attempt(member, method, request, doing, effect=Effect.READ, left_s=self._times.attempt_s)
        except Failed as failed:
            raise failed.error from failed

    async def _attempt(
        self, member: Member, method: Method[Q, A], request: Q, doing: str, *, effect: Effect, left_s: float
    ) -> A:
        clock = asyncio.get_running_loop().time
        end = clock() + left_s
        await member.connect(min(self._times.connect_s, left_s), doing)
        await self._login(member, min(self._times.attempt_s, end - clock()))
        # What may not be repeated gets all the time there is: to give up on it earlier gains nothing.
        once_s = end - clock() if effect is Effect.WRITE else min(self._times.attempt_s, end - clock())
        return await member.attempt(method, request, doing, max(once_s, 0.001))

    async def _login(self, member: Member, limit_s: float) -> None:
        """Get a token from this member, if we have none and need one."""
        if self._credentials is None or member.token is not None:
            return
        request = pb.AuthenticateRequest(name=self._credentials.user, password=self._credentials.password)
        doing = f"log in to etcd as {self._credentials.user}"
        try:
            answer = await member.attempt(AUTHENTICATE, request, doing, max(limit_s, 0.001))
        except Failed as failed:
            # The call itself was not sent yet, whatever became of the login.
            kind = Fault.NEVER_LEFT if failed.fault is Fault.TRANSPORT else Fault.FINAL
            raise Failed(kind, failed.error) from failed
        member.token = answer.token

    @asynccontextmanager
    async def stream(self, method: Method[Q, A], doing: str) -> AsyncIterator[Stream[Q, A]]:
        """Open a stream on the current member, logged in. Raises `Failed`; the caller decides on rotation."""
        member = self.current
        await member.connect(self._times.connect_s, doing)
        await self._login(member, self._times.attempt_s)
        async with member.stream(method, doing) as stream:
            yield stream

    @property
    def logs_in(self) -> bool:
        """True if denial may mean no more than an expired token."""
        return self._credentials is not None


class _Progress:
    """What one call has been through: decides whether, and when, it is tried again."""

    def __init__(self, effect: Effect, members: int, *, logs_in: bool) -> None:
        self.effect = effect
        self._members = members
        self._logins_left = 1 if logs_in else 0
        self._failures = 0
        self._unknown = False
        self._waits = backoff(0.1, 1.0)

    def after(self, failed: Failed) -> float | None:
        """Seconds to wait before the next attempt; None: there must be none."""
        if failed.fault in {Fault.TOKEN, Fault.DENIED}:
            # etcd answers an expired token as if permission were missing (etcd #12385): believe only a fresh one.
            self._logins_left -= 1
            return 0.0 if self._logins_left >= 0 else None
        if failed.fault is Fault.FINAL:
            return None
        if failed.fault is Fault.TRANSPORT:
            self._unknown = True
            if self.effect is Effect.WRITE:
                return None
        self._failures += 1
        # First every member once, at once; then in rounds.
        return next(self._waits) if self._failures % self._members == 0 else 0.0

    def moves_on(self, failed: Failed) -> bool:
        """Whether the fault speaks against the member, not against the call."""
        return failed.fault in {Fault.TRANSPORT, Fault.NEVER_LEFT}

    def verdict(self, failed: Failed, doing: str) -> Exception:
        """The error to raise when there is no further attempt."""
        if self._unknown and self.effect is not Effect.READ and self.moves_on(failed):
            why = failed.error.message.removeprefix(doing).lstrip(": ")
            return OutcomeUnknown(f"{doing}: sent, but the answer is missing, so it may have been done ({why})")
        return failed.error
