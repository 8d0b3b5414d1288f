"""Whose fault an error is: one row of the table after the other."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mft.errors import Conflict, Denied, Exhausted, Invalid, LeadershipLost, MftError, NotFound, Unavailable
from mft.model.locations import LocalLocationSpec, LocationSpec, SftpLocationSpec
from mft.transfers.failures import CHANGED, FOREIGN, INTERNAL, Step, classify, internal

LOCATIONS: Mapping[str, LocationSpec] = {
    "shared": LocalLocationSpec(),
    "partner": SftpLocationSpec(address="h", username="u", host_keys=("SHA256:x",)),
}


@pytest.mark.parametrize(
    ("error", "step", "place", "means"),
    [
        (LeadershipLost("x"), "file", "", ("transient", False, True)),
        (Unavailable("etcd"), "file", "", ("transient", False, True)),
        (Unavailable("x"), "file", "source shared", ("transient", False, True)),
        (Unavailable("x"), "file", "destination partner", ("partner", False, True)),
        (Unavailable("x"), "open", "destination partner", ("partner", False, True)),
        (MftError("x"), "open", "destination partner", ("partner", False, True)),
        (Denied("x"), "open", "destination partner", ("credentials", False, True)),
        (Denied("x"), "open", "source shared", ("configuration", False, True)),
        (Invalid("x"), "open", "destination partner", ("configuration", False, True)),
        (NotFound("x"), "open", "", ("configuration", False, True)),
        (NotFound("x"), "pass", "source shared", ("configuration", False, True)),
        (Denied("x"), "pass", "source partner", ("configuration", False, True)),
        (Exhausted("ledger"), "pass", "", ("configuration", False, True)),
        (Exhausted("x"), "file", "destination partner", ("transient", False, False)),
        (Denied("x"), "file", "destination partner", ("configuration", False, False)),
        (NotFound("x"), "file", "destination shared", ("configuration", False, False)),
        (Denied("x"), "file", "source shared", ("file", True, False)),
        (NotFound("x"), "file", "source shared", ("file", True, False)),
        (MftError("x"), "file", "destination partner", ("file", True, False)),
        (Conflict("exists"), "file", "", ("file", True, False)),
        (Conflict("changed", code=CHANGED), "file", "", ("file", False, False)),
        (Conflict("foreign", code=FOREIGN), "file", "", ("file", False, False)),
    ],
)
def test_each_row_of_the_table(error: MftError, step: Step, place: str, means: tuple[str, bool, bool]) -> None:
    """Goal: what the manual says of each class is what the code does. Method: one error of each kind and place."""
    error.role, _, error.location = place.partition(" ")
    kind, counts, ends_pass = means
    assert classify(error, step, LOCATIONS) == (kind, error.location, counts, ends_pass)


def test_what_was_not_foreseen() -> None:
    """Goal: a bug is the file's, a machine without room is not. Method: each, also out of a group of tasks."""
    bug = internal(ValueError("x"))
    assert (bug.stable_code, str(bug)) == (INTERNAL, "internal error, please report it with the log: ValueError: x")
    assert classify(bug, "file", LOCATIONS).counts
    no_room = BlockingIOError(11, "Resource temporarily unavailable")
    for error in (no_room, MemoryError(), RuntimeError("can't start new thread"), ExceptionGroup("tasks", [no_room])):
        failure = classify(internal(error), "file", LOCATIONS)
        assert (failure.kind, failure.counts) == ("configuration", False)
    ours = Unavailable("gone")
    assert internal(ExceptionGroup("tasks", [ours])) is ours
