"""`mft-admin`'s side of the admin service: one connection, and its errors translated back into ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import grpc

from mft.errors import Conflict, Denied, Exhausted, Invalid, MftError, NotFound, Problem, Unavailable
from mft.pb.admin.v1 import admin_pb2 as pb
from mft.pb.admin.v1 import admin_pb2_grpc as pb_grpc

CALL_S = 60.0
"""A document with 100,000 accounts takes some seconds to check, hash and publish."""
DETAIL_BYTES_MAX = 1024 * 1024
DETAIL_KEY, DETAIL_MAX_KEY = "mft-error-bin", "mft-error-bytes-max"

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 2 * DETAIL_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", 2 * DETAIL_BYTES_MAX),
)

_KINDS: tuple[tuple[grpc.StatusCode, type[MftError]], ...] = (
    (grpc.StatusCode.INVALID_ARGUMENT, Invalid),
    (grpc.StatusCode.NOT_FOUND, NotFound),
    (grpc.StatusCode.ABORTED, Conflict),
    (grpc.StatusCode.FAILED_PRECONDITION, Conflict),
    (grpc.StatusCode.PERMISSION_DENIED, Denied),
    (grpc.StatusCode.UNAUTHENTICATED, Denied),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, Exhausted),
    (grpc.StatusCode.UNAVAILABLE, Unavailable),
    (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable),
)

Answer = TypeVar("Answer")


class Server(NamedTuple):
    """Which controller, and what it wants to see."""

    address: str
    """`host:port`."""
    token: str
    ca: bytes | None = None
    """PEM; with it, TLS is used."""


class Client:
    """Calls to one controller."""

    def __init__(self, channel: Any, server: Server) -> None:
        self.config = pb_grpc.ConfigServiceStub(channel)
        self.cluster = pb_grpc.ClusterServiceStub(channel)
        self.transfers = pb_grpc.TransferServiceStub(channel)
        self.deliveries = pb_grpc.DeliveryServiceStub(channel)
        self._server = server

    def call(self, method: Callable[..., Answer], request: Any) -> Answer:
        """Make one call. Raises what the controller raised, or `Unavailable` if it cannot be reached."""
        try:
            return method(request, timeout=CALL_S, metadata=self._metadata())
        except grpc.RpcError as error:
            raise _translated(error, self._server) from error

    def follow(self, method: Callable[..., Iterable[Answer]], request: Any) -> Iterator[Answer]:
        """Make a call that goes on, and yield its answers until it ends. Raises as `call` does."""
        try:
            yield from method(request, metadata=self._metadata())
        except grpc.RpcError as error:
            raise _translated(error, self._server) from error

    def _metadata(self) -> list[tuple[str, str]]:
        metadata = [(DETAIL_MAX_KEY, str(DETAIL_BYTES_MAX))]
        if self._server.token:
            metadata.append(("authorization", f"Bearer {self._server.token}"))
        return metadata


@contextmanager
def connect(server: Server) -> Iterator[Client]:
    """Open a connection for as long as the block runs. Nothing is sent before the first call."""
    if server.ca is None:
        channel = grpc.insecure_channel(server.address, options=_OPTIONS)
    else:
        channel = grpc.secure_channel(server.address, grpc.ssl_channel_credentials(server.ca), options=_OPTIONS)
    with channel:
        yield Client(channel, server)


def read_token(path: Path | None) -> str:
    """Read the token's file; no file, no token."""
    if path is None:
        return ""
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Denied(f"the token in {path} cannot be read: {reason}") from error
    if not token or not token.isprintable():  # grpc would print its own complaint about what no header can hold.
        raise Denied(f"{path} holds no token: give admin.token from the controller's data folder, or a copy of it")
    return token


def _translated(error: Any, server: Server) -> MftError:
    address = server.address
    status, message = error.code(), error.details() or "no reason given"
    detail = pb.ErrorDetail()
    for key, value in error.trailing_metadata() or ():
        if key == DETAIL_KEY:
            detail.ParseFromString(value)
    if not detail.code:
        if status in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            return Unavailable(f"no controller answers at {address}: {_first_line(message)}")
        if status is grpc.StatusCode.UNAUTHENTICATED and server.token:
            return Denied(f"the controller at {address} has another admin token: give the one from its own data folder")
        if status is grpc.StatusCode.UNAUTHENTICATED:
            return Denied(f"{message}: give --token-file FILE or set MFT_ADMIN_TOKEN_FILE")
        if status is grpc.StatusCode.UNIMPLEMENTED:
            return Unavailable(f"what answers at {address} is no controller, or an older one")
    kind = next((kind for code, kind in _KINDS if code is status), MftError)
    message = detail.message or message
    if kind is not Invalid:
        return kind(message, code=detail.code or None)
    problems = [Problem(problem.path, problem.message) for problem in detail.problems]
    if detail.problems_omitted:
        problems.append(Problem("", f"and {detail.problems_omitted} more"))
    return Invalid(message, tuple(problems), code=detail.code or None)


def _first_line(message: str) -> str:
    return message.splitlines()[0][:200]
