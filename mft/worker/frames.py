"""What agent and worker say to each other: a small closed set of messages, and how they travel.

A socket pair carries them both ways as msgpack, each with its length before it. Listening sockets travel on a second
pair, because a descriptor can only ride on a message of its own (SCM_RIGHTS): the agent sends the descriptor first and
`Listen` after it, so when `Listen` is read, the descriptor is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from mft.model.config import Config
from mft.model.delivery import Kept, Record

HEADER_BYTES = 4
FRAME_READ_BYTES = 1024 * 1024
"""Buffer of a channel's reader."""
FRAME_BYTES_MAX = 256 * 1024 * 1024
"""Bounds what a broken peer can make us read; the largest frame is a `Configure` with every account."""


class Frame(Struct, frozen=True, kw_only=True, tag=True):
    """Base of all messages."""


# ---- agent → worker


class Configure(Frame, frozen=True, kw_only=True):
    """Use this config from the next login and the next run on."""

    node: str
    """The instance's name, for what is written on its behalf."""
    version: int
    config: bytes
    """The instance's view: `Config` in msgpack, overrides and variables applied, secrets opened."""


def encode_config(config: Config) -> bytes:
    """Encode a view for `Configure`."""
    return msgspec.msgpack.encode(config)


class Listen(Frame, frozen=True, kw_only=True):
    """Serve this service on the socket that has just been sent on the descriptor channel."""

    service: str


class Unlisten(Frame, frozen=True, kw_only=True):
    """Stop accepting for this service; its open sessions end by themselves or at `drain_s`."""

    service: str
    drain_s: float


class Accept(Frame, frozen=True, kw_only=True):
    """Take new connections, or leave them in the queue to the other workers."""

    on: bool


class Permit(Frame, frozen=True, kw_only=True):
    """The term's deadline, on CLOCK_BOOTTIME. No outside effect after it; each renewal sends a later one."""

    group: str
    deadline: float


class Run(Frame, frozen=True, kw_only=True):
    """Make one pass over a transfer: finish the open deliveries, then take and deliver what is there."""

    run: int
    """Unique within the agent's life. Part of every temp name, so that no two attempts share one."""
    transfer: str
    group: str
    incarnation: str
    create_revision: int
    deadline: float
    records: dict[str, Record]
    """Delivery → its record, for all deliveries of this transfer that have one."""
    ledger: dict[str, Kept] = {}
    """Kept source → as it was when it was delivered; empty where sources are removed."""
    sweep: bool = False
    """First remove temp files of earlier terms that no record names."""
    finish: bool = False
    """Take nothing new: only what was begun is finished."""


class Finish(Frame, frozen=True, kw_only=True):
    """Let this run take nothing new and end when what it has begun is finished."""

    run: int


class Cancel(Frame, frozen=True, kw_only=True):
    """Stop this run now; answered by `Ran`."""

    run: int


class Probe(Frame, frozen=True, kw_only=True):
    """Try whether these locations can be reached from here, on connections of their own; answered by `Probed`."""

    probe: int
    locations: tuple[str, ...]
    limit_s: float


class Recorded(Frame, frozen=True, kw_only=True):
    """Answer to `Commit`: committed, or why not. After `lost` the run must end without another effect."""

    seq: int
    error: str = ""
    """Why nothing of it was committed."""
    errors: dict[str, str] = {}
    """Delivery → why its record was refused, where others of the same frame were committed."""
    lost: bool = False


class Ping(Frame, frozen=True, kw_only=True):
    """Answer with `Pong`: a worker that hangs is replaced."""


class Drain(Frame, frozen=True, kw_only=True):
    """Stop accepting and end: open sessions and runs have until `drain_s`."""

    drain_s: float


# ---- worker → agent


class Ready(Frame, frozen=True, kw_only=True):
    """The worker has started and reads frames."""


class Pong(Frame, frozen=True, kw_only=True):
    """The worker's loop turns."""


class Configured(Frame, frozen=True, kw_only=True):
    """The version is in use; `problems` are services that could not use it (id → why)."""

    version: int
    problems: dict[str, str] = {}


class Load(Frame, frozen=True, kw_only=True):
    """Sessions now open in this worker; sent when it changes."""

    sessions: int


class Commit(Frame, frozen=True, kw_only=True):
    """Ask the agent to write to the journal under this run's term; answered by `Recorded` with the same `seq`."""

    seq: int
    run: int
    puts: dict[str, Record] = {}
    """Delivery → new record."""
    forgets: tuple[str, ...] = ()
    """Deliveries whose record is removed."""


class Emit(Frame, frozen=True, kw_only=True):
    """An event that happened in the worker, for the agent's bus."""

    event: int
    """Numeric id of the catalogue."""
    fields: dict[str, Any]
    at: float
    """Wall clock, seconds since 1970."""


class Probed(Frame, frozen=True, kw_only=True):
    """Answer to `Probe`: what could be reached within its limit."""

    probe: int
    reachable: tuple[str, ...]


class FileProgress(Struct, frozen=True, array_like=True):
    """How far one file is."""

    delivery: str
    name: str
    bytes_done: int
    size_bytes: int


class Progress(Frame, frozen=True, kw_only=True):
    """How far a run is, for whoever looks; only the newest counts."""

    run: int
    delivered: int
    failed: int
    bytes_done: int
    """Of files that are done and of those on their way."""
    files: tuple[FileProgress, ...] = ()
    """Those on their way that are large or slow."""


class Ran(Frame, frozen=True, kw_only=True):
    """The run is over. With `error` it could not go on; what is open stays in the journal."""

    run: int
    delivered: int = 0
    failed: int = 0
    gone: tuple[str, ...] = ()
    """Kept sources that are no longer there, so that the ledger may forget them."""
    error: str = ""
    error_class: str = ""
    """Class of `error` (`mft.transfers.failures`): transient, partner, credentials, file or configuration."""
    location: str = ""
    """Location at which the error happened, where that is known."""
    wait_s: float = 0.0
    """Seconds after which another pass has something to do, whatever the schedule says: a file that failed is due, or
    may have become stable. 0: nothing is known to wait."""
    awaits: str = ""
    """What files that are there wait for, in words."""
    cancelled: bool = False


Order = Configure | Listen | Unlisten | Accept | Permit | Run | Finish | Cancel | Probe | Recorded | Ping | Drain
Report = Ready | Pong | Configured | Load | Commit | Emit | Progress | Ran | Probed

Incoming = TypeVar("Incoming")


class Channel(Generic[Incoming]):
    """One end of the pair. `send` never waits: both ends are ours, and what may be in flight is bounded elsewhere."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incoming: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._decode: Callable[[bytes | bytearray], Incoming] = msgspec.msgpack.Decoder(incoming).decode
        self._encoder = msgspec.msgpack.Encoder()
        self._out: list[bytes] = []
        self._in = bytearray()
        self._at = 0
        """Where in `_in` the next frame begins."""

    def send(self, frame: Frame) -> None:
        """Queue one frame. On a closed channel it is dropped: the reading side then ends this process.

        Frames of one turn of the loop leave together.
        """
        body = self._encoder.encode(frame)
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out += (len(body).to_bytes(HEADER_BYTES, "big"), body)

    async def receive(self) -> Incoming | None:
        """Return the next frame, or None when the other end is gone."""
        try:
            await self._have(HEADER_BYTES)
            size = int.from_bytes(self._in[self._at : self._at + HEADER_BYTES], "big")
            assert size <= FRAME_BYTES_MAX, f"frame of {size} bytes"
            await self._have(HEADER_BYTES + size)
        except (EOFError, ConnectionError):
            return None
        begin = self._at + HEADER_BYTES
        self._at = begin + size
        return self._decode(self._in[begin : self._at])

    async def drain(self) -> None:
        """Wait until the other end has taken most of what was sent."""
        self._flush()
        await self._writer.drain()

    def close(self) -> None:
        """Close this end."""
        self._flush()
        self._writer.close()

    async def _have(self, size: int) -> None:
        """Read until so many bytes are there. What came with them is kept: to wait for each small frame costs most."""
        if len(self._in) - self._at >= size:
            return
        del self._in[: self._at]
        self._at = 0
        while len(self._in) < size:
            piece = await self._reader.read(FRAME_READ_BYTES)
            if not piece:
                raise EOFError
            self._in += piece

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and not self._writer.is_closing():  # uvloop's transport raises where asyncio's drops.
            self._writer.write(b"".join(out))
