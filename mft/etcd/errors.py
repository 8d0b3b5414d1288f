"""What can go wrong at etcd, translated once into the errors of this program.

    Unavailable            no member answered; the call had no effect
    └ OutcomeUnknown       the connection or the time ended after a write was sent: read before anything else
    Conflict
    └ Compacted            the history asked for is gone: list again
    Denied, Exhausted, Invalid, NotFound

etcd says much by text and little by status code, so both are looked at. Source: etcd `api/v3rpc/rpctypes/error.go`.
"""

from __future__ import annotations

import enum

import grpc

from mft.errors import Conflict, Denied, Exhausted, Invalid, MftError, NotFound, Unavailable


class OutcomeUnknown(Unavailable):
    """A write was sent and its answer never came: it may have been applied. Read again before anything else."""

    code = "MFT-OUTAGE-1003"


class Compacted(Conflict):
    """The revision asked for is no longer kept. `revision` is the oldest that is, 0 if the server did not say."""

    code = "MFT-ETCD-1001"

    def __init__(self, message: str, revision: int = 0) -> None:
        super().__init__(message)
        self.revision = revision


class Fault(enum.Enum):
    """What a failed call means for the next attempt."""

    NEVER_LEFT = "never left"  # nothing was proposed to the cluster: any call may be repeated, elsewhere
    TRANSPORT = "transport"  # unknown whether it was done
    TOKEN = "token"  # noqa: S105 - the kind of fault, not a token; refused before it was proposed: log in and repeat
    DENIED = "denied"  # the same, unless a fresh login is denied too
    FINAL = "final"  # an answer: repeating it changes nothing


_NEVER_LEFT = (
    "failed to connect to all addresses",
    "dns resolution failed",
    "name resolution",
    "etcdserver: no leader",
    "etcdserver: not capable",
)
_TOKEN = ("invalid auth token", "revision of auth store is old", "user name is empty")
# `not a primary lessor` comes with code UNKNOWN while the etcd leader changes (etcd #21671).
_PASSING = (
    "not a primary lessor",
    "leader changed",
    "not leader",
    "server stopped",
    "request timed out",
    "unhealthy cluster",
)
_LOST_ON_THE_WAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DATA_LOSS,
    }
)


def classify(code: grpc.StatusCode, details: str) -> Fault:
    """Say what a call's status means for repeating it."""
    text = details.lower()
    if any(part in text for part in _NEVER_LEFT):
        return Fault.NEVER_LEFT
    if code is grpc.StatusCode.UNAUTHENTICATED or any(part in text for part in _TOKEN):
        return Fault.TOKEN
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return Fault.DENIED
    if code in _LOST_ON_THE_WAY or any(part in text for part in _PASSING):
        return Fault.TRANSPORT
    if code is grpc.StatusCode.UNKNOWN and not text.startswith(("etcdserver:", "mvcc:", "auth:", "lease:")):
        return Fault.TRANSPORT
    return Fault.FINAL


def translate(code: grpc.StatusCode, details: str, doing: str) -> MftError:
    """Give the error that callers see for a final status; `doing` says what was being done to what."""
    text = details.lower()
    message = f"{doing}: etcd answered: {details}" if details else f"{doing}: etcd answered {code.name}"
    if "has been compacted" in text:
        return Compacted(message)
    kinds: dict[grpc.StatusCode, type[MftError]] = {
        grpc.StatusCode.UNAUTHENTICATED: Denied,
        grpc.StatusCode.PERMISSION_DENIED: Denied,
        grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
        grpc.StatusCode.INVALID_ARGUMENT: Invalid,
        grpc.StatusCode.UNIMPLEMENTED: Invalid,
        grpc.StatusCode.NOT_FOUND: NotFound,
        grpc.StatusCode.FAILED_PRECONDITION: Conflict,
        grpc.StatusCode.ALREADY_EXISTS: Conflict,
    }
    if "authentication failed" in text or "user name is empty" in text:
        return Denied(message)
    return kinds.get(code, Unavailable)(message)
