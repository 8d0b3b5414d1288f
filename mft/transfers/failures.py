"""Whose fault an error is, and what follows from that.

    class          what it is                                                 what follows
    transient      etcd or shared storage does not answer; a disk is full     the pass ends, the next comes later
    partner        a partner cannot be reached, or the connection broke       the same, and all its transfers pause
    credentials    a login, a host key or a proxy is refused                  the same
    configuration  a folder is missing or closed, a location cannot be right  nothing more is taken; the next pass later
    file           anything that is wrong with one file                       it waits, longer each time, then is put
                                                                              into quarantine; the others go on

Only the last counts against a file. What no part of the program has foreseen is one of it, too: of that file, and the
log has all of it. A full disk and a closed folder do not end a pass at once: files that are taken
already are each tried, since it may be a matter of one large file, or of one folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import structlog

from mft.aio import first_error
from mft.errors import Conflict, Denied, Exhausted, Invalid, LeadershipLost, MftError, NotFound, Unavailable
from mft.model.locations import LocalLocationSpec, LocationSpec

ErrorClass = Literal["transient", "partner", "credentials", "file", "configuration"]

Step = Literal["open", "pass", "file"]
"""Where it happened: connecting a location; listing, taking and sweeping; within one file."""

CHANGED = "MFT-FILE-1001"
"""Code of the `Conflict` that says that a source has changed: it is tried when it is stable, and is not to blame."""

UNCONVERTIBLE = "MFT-FILE-1002"
"""Code of the `Invalid` that says that content is not what its rule of conversion takes it for."""

INTERNAL = "MFT-INTERNAL-1001"
"""Code of an error that was not foreseen: a bug."""

FOREIGN = "MFT-JOURNAL-1001"
"""Code of the `Conflict` that says that a record is not as this term left it."""


class Failure(NamedTuple):
    """What an error means."""

    kind: ErrorClass
    location: str
    """At which it happened, where that is known."""
    counts: bool
    """It is held against the file."""
    ends_pass: bool
    """Nothing more could succeed now."""


def internal(error: Exception) -> MftError:
    """Make an error that was not foreseen one that can be told, and write all of it into the log."""
    first = first_error(error) if isinstance(error, ExceptionGroup) else error
    if isinstance(first, MftError):
        return first
    if isinstance(first, OSError | MemoryError) or "can't start new thread" in str(first):
        return Exhausted(f"this machine has no room for it: {type(first).__name__}: {first}")  # No fault of the file.
    structlog.get_logger().error("an error that was not foreseen", exc_info=error)
    return MftError(f"internal error, please report it with the log: {type(first).__name__}: {first}", code=INTERNAL)


def classify(error: MftError, step: Step, locations: Mapping[str, LocationSpec]) -> Failure:
    """Say whose fault an error is. `locations` tells which ones are partners; pure."""
    kind = _kind(error, step, locations)
    is_file = step == "file"
    return Failure(
        kind,
        error.location,
        counts=kind == "file" and error.stable_code not in (CHANGED, FOREIGN),
        ends_pass=not is_file or isinstance(error, Unavailable),
    )


def _kind(error: MftError, step: Step, locations: Mapping[str, LocationSpec]) -> ErrorClass:
    is_partner = not isinstance(locations.get(error.location), LocalLocationSpec | None)
    if isinstance(error, LeadershipLost):
        return "transient"
    if isinstance(error, Unavailable):
        return "partner" if is_partner else "transient"
    if isinstance(error, Exhausted):
        return "transient" if error.location else "configuration"  # Without one it is a bound of our own.
    if step == "file":
        # Temp names are new, so what is refused or missing there is the folder.
        is_folder = error.role == "destination" and isinstance(error, Denied | NotFound)
        return "configuration" if is_folder else "file"
    if step == "open" and is_partner and not isinstance(error, Invalid | NotFound):
        return "credentials" if isinstance(error, Denied) else "partner"
    return "transient" if isinstance(error, Conflict) else "configuration"
