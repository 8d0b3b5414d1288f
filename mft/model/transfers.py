"""`[transfers.ID]`: what is sent from where to where, by the leader of its group."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mft.model.scope import RunOn
from mft.model.spec import Seconds, Spec

DEFAULT_GROUP = "default"
"""The leader group of transfers that name neither a group nor where to run."""


class TransferSpec(Spec, frozen=True, kw_only=True):
    """One outbound transfer: poll a folder, send each file exactly once, remove the source."""

    enabled: bool = True
    name: str = ""
    run_on: RunOn = "all"
    """Which instances are candidates to run it. All transfers of one leader group agree on it."""
    leader_group: str = ""
    """Transfers of one group are run by the same leader. Empty: `default`, or a group of its own if `run_on` is set."""
    source_location: str
    source_path: str
    source_filter: str = "*"
    """Glob on the file's name. Hidden files (leading dot) are never taken."""
    destination_location: str
    destination_path: str
    delete_source: bool = True
    """Remove each source once it is delivered. Off: sources are kept, and a ledger remembers which ones, as they were
    (size, time, on local storage the inode), are delivered; a changed one is delivered again."""
    poll_interval_s: Seconds = 10.0
    stable_interval_s: Annotated[float, Meta(ge=0, le=86400)] = 10.0
    """Seconds that size and time must not have changed before a file is taken; 0 where producers rename into place."""
    parallel_files: Annotated[int, Meta(ge=1, le=256)] = 4
    """Files on their way at one time."""
    on_uncertain: Literal["hold", "resend"] = "hold"
    """What to do when it cannot be known whether a file was delivered: keep it for the operator, or send it again."""


def leader_group_of(id: str, spec: TransferSpec) -> str:
    """Name a transfer's leader group: its own word, else `default`, else one of its own if it says where to run."""
    if spec.leader_group:
        return spec.leader_group
    return DEFAULT_GROUP if spec.run_on == "all" else f"transfer-{id}"
