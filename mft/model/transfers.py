"""`[transfers.ID]`: what is sent from where to where, by the leader of its group."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mft.model.scope import RunOn
from mft.model.spec import Seconds, Spec
from mft.model.starts import StartSpec
from mft.model.transfer_parts import (
    ArchiveSpec,
    BatchSpec,
    CommandsSpec,
    ConversionRule,
    ExpectSpec,
    NameRule,
    OverwriteRule,
    RetrySpec,
    SecondsOrNone,
)

DEFAULT_GROUP = "default"
"""The leader group of transfers that name neither a group nor where to run."""


class TransferSpec(Spec, frozen=True, kw_only=True):
    """One outbound transfer: look into a folder, send each file exactly once, remove the source."""

    enabled: bool = True
    name: str = ""
    description: str = ""
    run_on: RunOn = "all"
    """Which instances are candidates to run it. All transfers of one leader group agree on it."""
    leader_group: str = ""
    """Transfers of one group are run by the same leader. Empty: `default`, or a group of its own if `run_on` is set."""
    source_location: str
    source_path: str
    source_filter: str = "*"
    """Which files. A glob (`*.csv`, several with `|` between them), with a slash in it on the path under the source
    folder, else on the name; `*` stays within a folder, `**/` stands for any folders, or none. `!` before it: all but
    these. `g/…/` the same, `g/…/i` without regard to case. `t/…/` a glob with a date by the clocks of
    `start.time_zone`: `{date}` (`20261231`), `{year}`, `{month}`, `{day}`, `{hour}`, `{week}` and others; `t/…/-1d` of
    the day before, `-1m` a month, `-1h` an hour, `-2d..0d` any of three days, `i` before it without regard to case.
    `m/…/` a regular expression that is looked for in the path, `m/…/i` without regard to case, `e/…/` all but what it
    finds. Hidden files (leading dot) are never taken."""
    recursive: bool = False
    """Look into folders as well, up to 64 deep, but into no hidden ones; their paths are kept at the destination."""
    source_age_min_s: SecondsOrNone = 0.0
    """Leave files that are younger; 0: none is too young."""
    source_age_max_s: SecondsOrNone = 0.0
    """Leave files that are older; 0: none is too old."""
    destination_location: str
    destination_path: str
    destination_fallback_path: str = ""
    """Folder below `destination_path` for files whose own folder there is missing: each comes there with the whole path
    that it was to have, and folders are made for that alone. Empty: the folders that paths need are made."""
    names: tuple[NameRule, ...] = ()
    """How names change on the way; without a rule they stay."""
    conversions: tuple[ConversionRule, ...] = ()
    """What becomes of content on the way: other encodings, other line ends; without a rule it stays as it is. Sizes and
    hashes are then those of what arrives; the archive keeps the source's own bytes."""
    overwrite_rule: OverwriteRule = "overwrite"
    """What to do where the destination has a file of this name: `overwrite` replaces it in one step, `fail` fails the
    file, `skip` counts the source as delivered, `disable` leaves it to the destination, `timestamp-always` puts the
    time into every name, `timestamp-to-new-file` into the new file's, `timestamp-to-existing-file` into the other's."""
    temporary_prefix: str = "."
    """Begins the name that a file has until it is complete."""
    temporary_suffix: str = ".part"
    """Ends that name."""
    content_check: Literal["size", "hash", "read-back"] = "size"
    """What is compared before a file gets its final name. `size`: always. `hash`: SHA-256 by the server where it offers
    that, else by reading back. `read-back`: by reading back."""
    resume: bool = True
    """Go on with an upload that was cut off, if this instance still leads and the source is the same; what stands there
    is compared as by `hash` before it counts."""
    delete_source: bool = True
    """Remove each source once it is delivered. Off: sources are kept, and a ledger remembers which ones, as they were
    (size, time, on local storage the inode), are delivered; a changed one is delivered again."""
    resend_changed: bool = True
    """Where sources are kept: deliver one again that has changed since it was delivered. Off: what was delivered under
    a path is not delivered again, however it changes; a batch's marker counts again nonetheless. What has changed in
    the meantime is delivered once this is on again."""
    delete_empty_folders_s: SecondsOrNone = 0.0
    """Remove a folder below the source folder once it has been empty for so many seconds; 0: never. With `recursive`
    only."""
    archive: ArchiveSpec | None = None
    batch: BatchSpec | None = None
    expect: ExpectSpec | None = None
    retry: RetrySpec = RetrySpec()
    commands: CommandsSpec | None = None
    start: StartSpec = StartSpec()
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    """Where a partner takes only so many files at one time (`parallel_files_max`), transfers with more go first."""
    bandwidth_bytes_s: Annotated[int, Meta(ge=0)] = 0
    """Bytes a second that this transfer may send, all its files together; what is read back, or copied into an archive,
    counts as well. 0: as fast as it goes."""
    poll_interval_s: Seconds = 10.0
    stable_interval_s: Annotated[float, Meta(ge=0, le=86400)] = 10.0
    """Seconds that size and time must not have changed before a file is taken; 0 where producers rename into place."""
    parallel_files: Annotated[int, Meta(ge=1, le=256)] = 4
    """Files on their way at one time. Small ones, up to 32 KiB, go in bundles of up to 120, and a bundle counts as one
    file. With 1 each goes by itself, as always where more than size and name matter: see the manual."""
    on_uncertain: Literal["hold", "resend"] = "hold"
    """What to do when it cannot be known whether a file was delivered: keep it for the operator, or send it again."""


def leader_group_of(id: str, spec: TransferSpec) -> str:
    """Name a transfer's leader group: its own word, else `default`, else one of its own if it says where to run."""
    if spec.leader_group:
        return spec.leader_group
    return DEFAULT_GROUP if spec.run_on == "all" else f"transfer-{id}"


def archive_location_of(spec: TransferSpec) -> str:
    """Name the location in which a transfer archives, if that is another than its source's; else nothing."""
    location = spec.archive.location if spec.archive is not None else ""
    return "" if location == spec.source_location else location


def locations_of(spec: TransferSpec) -> tuple[str, ...]:
    """Name the locations between which a transfer moves content, each once: source, destination, archive."""
    ends = (spec.source_location, spec.destination_location, archive_location_of(spec))
    return tuple(dict.fromkeys(end for end in ends if end))
