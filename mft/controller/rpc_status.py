"""Our errors as gRPC statuses, in one table, with the details for programs in the trailing metadata."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import grpc
import structlog

from mft.cluster.store_etcd import VersionConflict
from mft.errors import Conflict, Denied, Exhausted, Invalid, MftError, NotFound, Unavailable
from mft.pb.admin.v1 import admin_pb2 as pb

DETAIL_KEY: Final = "mft-error-bin"
DETAIL_MAX_KEY: Final = "mft-error-bytes-max"
DETAIL_BYTES: Final = 4096
"""What any gRPC client takes by default, with room for the rest of its 8 KiB of metadata."""
DETAIL_BYTES_MAX: Final = 1024 * 1024
"""What a client may ask for."""

_STATUSES: Final = (
    (VersionConflict, grpc.StatusCode.ABORTED),
    (Invalid, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (Denied, grpc.StatusCode.PERMISSION_DENIED),
    (Exhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
)
"""First match counts."""


def status_of(error: MftError) -> grpc.StatusCode:
    """Say which status an error has on the wire."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def detail_of(error: MftError, bytes_max: int) -> pb.ErrorDetail:
    """Describe an error for programs, with as many problems as fit."""
    detail = pb.ErrorDetail(code=error.stable_code, message=error.message[:1000])
    if isinstance(error, VersionConflict):
        detail.base_version, detail.current_version = error.base, error.current
    problems = error.problems if isinstance(error, Invalid) else ()
    left = bytes_max - detail.ByteSize()
    for n, problem in enumerate(problems):
        one = pb.Problem(path=problem.path[:1000], message=problem.message[:1000])
        # Tag and length stand before each, and the count of what is left out at the end.
        left -= one.ByteSize() + 8
        if left < 0:
            detail.problems_omitted = len(problems) - n
            break
        detail.problems.append(one)
    return detail


class Answering:
    """`async with answering(context):` around each call: what fails there ends the call with its status."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MftError):
            await self._refuse(error)
        # Cancelling and `abort` itself pass; anything else is a bug, told in our log and to nobody outside.
        if isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            structlog.get_logger().exception("a call failed by a defect of this program", exc_info=error)
            message = "the controller failed by a defect of its own; its log has more"
            await self._context.abort(grpc.StatusCode.INTERNAL, message)

    async def _refuse(self, error: MftError) -> NoReturn:
        detail = detail_of(error, self._bytes_max())
        await self._context.abort(status_of(error), error.message[:1000], ((DETAIL_KEY, detail.SerializeToString()),))
        raise AssertionError("abort raises")

    def _bytes_max(self) -> int:
        with contextlib.suppress(ValueError):
            for key, value in self._metadata():
                if key == DETAIL_MAX_KEY:
                    return max(DETAIL_BYTES, min(DETAIL_BYTES_MAX, int(value)))
        return DETAIL_BYTES

    def _metadata(self) -> Iterator[tuple[str, str]]:
        for key, value in self._context.invocation_metadata() or ():
            yield key, value if isinstance(value, str) else ""
