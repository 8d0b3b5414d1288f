"""One SFTP channel as a client has it: requests go out together, each answer finds whoever waits for it.

Requests leave as one piece with those that are made soon after, as long as others are under way, and an answer wakes
its caller directly: no task and no timer for a request. For small files that is most of what they cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from struct import error as StructError  # noqa: N812 - it is a class
from typing import NamedTuple, TypeVar

import asyncssh

from mft.transfers.remotes import sftp_wire as wire
from mft.transfers.remotes import ssh_packets
from mft.transfers.remotes.base import PIECE_BYTES, Content
from mft.transfers.remotes.sftp_wire import Answer, Garbled, Kind, Refused

Outcome = Answer | Exception
T = TypeVar("T")

_WINDOW_BYTES = 8 * 1024 * 1024
"""How much the server may send ahead: more than is asked for at one time, so that it never waits for our word."""
_PACKET_BYTES = 256 * 1024
_GATHER_S = 0.001
"""How long a request may wait for others to leave with it, while answers are due; the next answer sends it at once."""
_GATHER_BYTES_MAX = 32 * 1024
"""As much fills an SSH packet."""
_FLUSH_BYTES_MIN = 128 * 1024
"""So much leaves before anything else is done: what was just read is still near the processor."""
_OLDEST_LIMITS = 10
"""One answer that stays out while others come is waited for so many limits: it may stand behind megabytes."""
_READ_BYTES, _WRITE_BYTES = 32 * 1024, 32 * 1024
"""What every server takes, as one request. Source: the draft, section 3."""
_BLOCK_BYTES_MAX = PIECE_BYTES


class Request(NamedTuple):
    """One request: its type, its body, and content that follows it."""

    kind: Kind
    body: bytes
    content: bytes = b""


class Lost(Exception):  # noqa: N818 - reads as what it says
    """The channel is closed: what was asked for has perhaps been done."""


class Exchange(asyncssh.SSHClientSession[bytes]):
    """Requests and answers on one channel. The connection lost, or no answer within `limit_s`: all that waits fails."""

    def __init__(self, limit_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit_s = limit_s
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._version: asyncio.Future[dict[bytes, bytes]] = self._loop.create_future()
        self._waiting: dict[int, tuple[Callable[[Outcome], None], float]] = {}
        self._number = 0
        self._out: list[Content] = []
        self._out_bytes = 0
        self._is_leaving = False
        self._leaving: asyncio.TimerHandle | None = None
        self._in: list[bytes] = []
        self._in_bytes = 0
        self._in_wanted_bytes = 4
        self._heard_at = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self._lost: Exception | None = None
        self.extensions: dict[bytes, bytes] = {}
        self.read_bytes_max = _READ_BYTES
        self.write_bytes_max = _WRITE_BYTES
        self.unanswered_bytes = 0
        """Of content that was sent; how far this channel is behind."""

    @property
    def unanswered(self) -> int:
        """Requests that wait for their answer."""
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._lost is None

    def silent_s(self) -> float:
        """Return for how long the oldest request has waited."""
        for _, sent_at in self._waiting.values():
            return self._loop.time() - sent_at
        return 0.0

    # ---- called by asyncssh

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Keep the channel."""
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Take answers apart and wake who waits for them."""
        self._heard_at = self._loop.time()
        if self._in:
            self._in.append(data)
            self._in_bytes += len(data)
            if self._in_bytes < self._in_wanted_bytes:
                return
            data = b"".join(self._in)
            self._in.clear()
        try:
            at = self._take(data)
        except (Garbled, StructError) as error:
            self.fail(Garbled(str(error)))
            return
        self._leave(at_once=True)  # After all who were woken have said what they want next.
        if at < len(data):
            rest = data[at:] if at else data
            self._in.append(rest)
            self._in_bytes = len(rest)
            self._in_wanted_bytes = 4 + int.from_bytes(rest[:4], "big") if len(rest) >= 4 else 4

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all that waits."""
        self.fail(Lost(str(exc) if exc else "the connection is closed"))

    # ---- ours

    async def begin(self) -> None:
        """Agree on the version and learn what the server offers. The caller bounds the time. Raises Garbled, Lost."""
        self._out.append(wire.init())
        self._leave(at_once=True)
        self.extensions = await self._version
        if wire.LIMITS in self.extensions:
            try:
                read, write = await self.call(Kind.EXTENDED, wire.string(wire.LIMITS), wire.limits)
            except Refused:
                return
            self.read_bytes_max = min(read or _READ_BYTES, _BLOCK_BYTES_MAX)
            self.write_bytes_max = min(write or _WRITE_BYTES, _BLOCK_BYTES_MAX)

    async def call(self, kind: Kind, body: bytes, take: Callable[[Answer], T]) -> T:
        """Ask, and give what `take` makes of the answer. Raises Refused, Garbled, Lost, TimeoutError."""
        future: asyncio.Future[Answer] = self._loop.create_future()

        def answered(outcome: Outcome) -> None:
            if future.done():
                return
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.send(kind, body, answered)
        return self.taken(await future, take)

    async def ask(self, requests: Sequence[Request], late: Callable[[Outcome], None] | None = None) -> list[Answer]:
        """Make all these requests in one turn of the loop, and give their answers in order, refusals among them.

        If that is cancelled, `late` is given each answer that came or still comes. Raises Garbled, Lost, TimeoutError.
        """
        if self._lost is not None:
            raise self._lost
        asked = _Asked(len(requests), self._loop.create_future(), late or _ignored)
        now = self._now()
        size_bytes = sum(len(request.content) for request in requests)
        self.unanswered_bytes += size_bytes
        try:
            for number, (kind, body, content) in enumerate(requests):
                self._put(kind, body, content, partial(asked.take, number), now)
            self._leave(at_once=True)
            return await asked.answers()
        finally:
            self.unanswered_bytes -= size_bytes

    async def open(self, kind: Kind, body: bytes) -> bytes:
        """Open a file or a folder. If that is cancelled, what the server opens is closed again."""
        future: asyncio.Future[bytes] = self._loop.create_future()

        def answered(outcome: Outcome) -> None:
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                handle = self.taken(outcome, wire.handle)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if future.done():
                    self.let_go(handle)
                else:
                    future.set_result(handle)

        self.send(kind, body, answered)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.let_go(future.result())  # The answer and the cancellation came in the same moment.
            raise

    def let_go(self, handle: bytes) -> None:
        """Close a handle whose outcome no longer matters; a lost connection has closed it already."""
        if self.is_open:
            self.send(Kind.CLOSE, wire.string(handle), _ignored)

    def send(self, kind: Kind, body: bytes, answered: Callable[[Outcome], None], content: Content = b"") -> None:
        """Send a request with this turn of the loop; `answered` is called once, and must not raise."""
        if self._lost is not None:
            answered(self._lost)
            return
        is_first = not self._waiting
        self._put(kind, body, content, answered, self._now())
        if self._out_bytes >= _FLUSH_BYTES_MIN:
            self._flush()
        else:
            self._leave(at_once=is_first or self._out_bytes >= _GATHER_BYTES_MAX)

    def _now(self) -> float:
        """Give the time at which requests are sent, and begin to watch for answers if none is due yet."""
        now = self._loop.time()
        if not self._waiting:
            self._heard_at = now
            if self._watch is None:
                self._watch = self._loop.call_later(self._limit_s, self._look)
        return now

    def _put(self, kind: Kind, body: bytes, content: Content, answered: Callable[[Outcome], None], now: float) -> None:
        number = self._number = (self._number + 1) & 0xFFFFFFFF
        size_bytes = len(body) + len(content)
        self._out += (wire.head(kind, number, size_bytes), body, content)
        self._out_bytes += size_bytes
        self._waiting[number] = (answered, now)

    def close(self) -> None:
        """Give up the channel; the server ends what it has open there."""
        self.fail(Lost("the channel was closed"))

    def fail(self, error: Exception) -> None:
        """End this channel: all that waits gets the error, and whoever comes later."""
        if self._lost is not None:
            return
        self._lost = error
        if self._watch is not None:
            self._watch.cancel()
        if self._channel is not None:
            self._channel.abort()
            ssh_packets.forget(self._channel)
        if not self._version.done():
            self._version.set_exception(error)
            self._version.exception()  # Looked at: nobody may be waiting yet.
        waiting, self._waiting = self._waiting, {}
        self._out.clear()
        for answered, _ in waiting.values():
            answered(error)

    def _leave(self, *, at_once: bool) -> None:
        """Have what waits sent after this turn of the loop, or a little later."""
        if self._is_leaving:
            return
        if at_once:
            self._is_leaving = True
            self._loop.call_soon(self._flush)
        elif self._leaving is None:
            self._leaving = self._loop.call_later(_GATHER_S, self._flush)

    def _flush(self) -> None:
        self._is_leaving = False
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        out, self._out = self._out, []
        self._out_bytes = 0
        if not out or self._channel is None or self._lost is not None:
            return
        try:
            ssh_packets.write(self._channel, _joined(out))
        except OSError as error:
            self.fail(Lost(str(error)))

    def _take(self, data: bytes) -> int:
        """Answer all that is whole in `data`. Returns where the rest begins."""
        at, end, view = 0, len(data), memoryview(data)
        while end - at >= wire.HEAD_BYTES:
            size, kind, number = wire.split_head(data, at)
            if not 5 <= size <= wire.PACKET_BYTES_MAX:
                raise Garbled(f"a packet of {size} bytes")
            after = at + 4 + size
            if after > end:
                break
            if not self._version.done():
                self._version.set_result(wire.version(data[at + 4 : after]))
            elif (waiting := self._waiting.pop(number, None)) is None:
                raise Garbled(f"an answer to request {number}, which was not made")
            else:
                waiting[0](Answer(kind, view[at + wire.HEAD_BYTES : after]))
            at = after
        return at

    def taken(self, answer: Answer, take: Callable[[Answer], T]) -> T:
        """Give what `take` makes of an answer. Raises Refused; Garbled, and then the channel is ended."""
        try:
            return take(answer)
        except (Garbled, StructError) as error:
            # Whoever answers so cannot be believed in anything else.
            self.fail(Garbled(str(error)))
            raise Garbled(str(error)) from error

    def _look(self) -> None:
        """See whether the server still answers, and look again when it could be silent for too long."""
        self._watch = None
        if not self._waiting:
            return
        now = self._loop.time()
        left_s = min(self._limit_s - (now - self._heard_at), _OLDEST_LIMITS * self._limit_s - self.silent_s())
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            self.fail(TimeoutError())


async def open_exchange(connection: asyncssh.SSHClientConnection, limit_s: float) -> Exchange:
    """Start SFTP on a channel of its own. The caller bounds the time.

    Raises:
        asyncssh.ChannelOpenError: the server allows no more channels, or offers no SFTP.
    """
    exchange = Exchange(limit_s)
    channel, _ = await connection.create_session(
        lambda: exchange,
        subsystem="sftp",
        encoding=None,
        window=_WINDOW_BYTES,
        max_pktsize=_PACKET_BYTES,
        request_pty=False,
    )
    try:
        await exchange.begin()
    except BaseException:
        channel.abort()
        raise
    return exchange


def _joined(pieces: list[Content]) -> list[Content]:
    """Put small pieces together; large ones are not worth a copy."""
    joined: list[Content] = []
    small: list[Content] = []
    for piece in pieces:
        if len(piece) < _GATHER_BYTES_MAX:
            small.append(piece)
        else:
            joined += (b"".join(small), piece)
            small = []
    return [*joined, b"".join(small)]


class _Asked:
    """The outcomes of requests that were made together."""

    def __init__(self, count: int, done: asyncio.Future[None], late: Callable[[Outcome], None]) -> None:
        self._outcomes: list[Outcome | None] = [None] * count
        self._left = count
        self._done = done
        self._late = late
        if not count:
            done.set_result(None)

    def take(self, index: int, outcome: Outcome) -> None:
        """Take one outcome."""
        if self._done.done():  # Given up.
            self._late(outcome)
            return
        self._outcomes[index] = outcome
        self._left -= 1
        if not self._left:
            self._done.set_result(None)

    async def answers(self) -> list[Answer]:
        """Wait for all of them."""
        try:
            await self._done
        except asyncio.CancelledError:
            for outcome in self._outcomes:
                if outcome is not None:
                    self._late(outcome)
            raise
        answers: list[Answer] = []
        for outcome in self._outcomes:
            assert outcome is not None
            if isinstance(outcome, Exception):
                raise outcome
            answers.append(outcome)
        return answers


def _ignored(outcome: Outcome) -> None:
    """Nobody waits for this one."""
