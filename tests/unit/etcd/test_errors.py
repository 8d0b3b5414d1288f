"""How statuses of gRPC and texts of etcd are understood."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from mft.errors import Conflict, Denied, Exhausted, Invalid, MftError, NotFound, Unavailable
from mft.etcd.errors import Compacted, Fault, classify, translate


@pytest.mark.parametrize(
    ("code", "details", "fault"),
    [
        (StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: refused", Fault.NEVER_LEFT),
        (StatusCode.UNAVAILABLE, "etcdserver: no leader", Fault.NEVER_LEFT),
        (StatusCode.UNAVAILABLE, "Socket closed", Fault.TRANSPORT),
        (StatusCode.UNAVAILABLE, "etcdserver: request timed out", Fault.TRANSPORT),
        (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", Fault.TRANSPORT),
        (StatusCode.UNKNOWN, "not a primary lessor", Fault.TRANSPORT),
        (StatusCode.UNKNOWN, "Stream removed", Fault.TRANSPORT),
        (StatusCode.FAILED_PRECONDITION, "etcdserver: not leader", Fault.TRANSPORT),
        (StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token", Fault.TOKEN),
        (StatusCode.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", Fault.TOKEN),
        (StatusCode.INVALID_ARGUMENT, "etcdserver: user name is empty", Fault.TOKEN),
        (StatusCode.PERMISSION_DENIED, "etcdserver: permission denied", Fault.DENIED),
        (StatusCode.INVALID_ARGUMENT, "etcdserver: request is too large", Fault.FINAL),
        (StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Fault.FINAL),
        (StatusCode.NOT_FOUND, "etcdserver: requested lease not found", Fault.FINAL),
        (StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Fault.FINAL),
    ],
)
def test_what_a_status_means_for_the_next_attempt(code: StatusCode, details: str, fault: Fault) -> None:
    """Goal: nothing that may have been done counts as never sent. Method: a table of real statuses."""
    assert classify(code, details) is fault


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token", Denied),
        (StatusCode.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password", Denied),
        (StatusCode.PERMISSION_DENIED, "etcdserver: permission denied", Denied),
        (StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Exhausted),
        (StatusCode.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", Invalid),
        (StatusCode.NOT_FOUND, "etcdserver: requested lease not found", NotFound),
        (StatusCode.FAILED_PRECONDITION, "etcdserver: lease already exists", Conflict),
        (StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Compacted),
        (StatusCode.UNAVAILABLE, "Socket closed", Unavailable),
        (StatusCode.INTERNAL, "", Unavailable),
    ],
)
def test_each_status_has_its_class(code: StatusCode, details: str, kind: type[MftError]) -> None:
    """Goal: an outage never looks like a refusal. Method: a table; the message says what was being done."""
    error = translate(code, details, "read /key at etcd:2379")
    assert type(error) is kind
    assert str(error).startswith("read /key at etcd:2379: ")
