"""The tables within a transfer: names at the destination, conversions, archive, batch, expectation, and so on."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mft.model.spec import Seconds, Spec

SecondsOrNone = Annotated[float, Meta(ge=0, le=86400 * 366)]
"""A length of time in seconds; 0 where there is none."""

OverwriteRule = Literal[
    "overwrite", "fail", "skip", "disable", "timestamp-always", "timestamp-to-new-file", "timestamp-to-existing-file"
]
"""What to do where the destination has a file of this name already.

    overwrite                    replace it, in one step
    fail                         the file fails, and says so
    skip                         leave it, and count the source as delivered
    disable                      do not look; what the destination does with a second one is its own affair
    timestamp-always             put the time into every name
    timestamp-to-new-file        put it into the new file's name
    timestamp-to-existing-file   put it into the name of the file that is there, then deliver
"""


class NameRule(Spec, frozen=True, kw_only=True):
    """`[[transfers.ID.names]]`: one step from a source's name to the name at the destination.

    All that match are used, one after the other, each on what the one before made.
    """

    match: str = "*"
    """Which files: an expression as in `source_filter`, on the path under the source folder. A date in it is that of
    taking, by the clocks of `start.time_zone`."""
    action: Literal["template", "only-filename", "replace-separator", "lowercase", "uppercase", "fixed-path"]
    """`template`: build the path from `template`. `only-filename`: drop the folders. `replace-separator`: put
    `template` in place of each slash. `lowercase`, `uppercase`: of the whole path. `fixed-path`: `template` itself."""
    template: str = ""
    """Text with `{path}`, `{folder}`, `{name}`, `{stem}`, `{extension}` (with its dot), `{group.1}` (of `match`),
    `{now.date}` (`20261231`), `{now.time}` (`235959`), `{now.timestamp}` (seconds), `{now.year}`, `{now.month}`,
    `{now.day}`, `{now.hour}`, `{now.minute}`, `{now.second}`; the time is that of taking, in UTC."""


class ConversionRule(Spec, frozen=True, kw_only=True):
    """`[[transfers.ID.conversions]]`: what the content of some files becomes on its way.

    The first rule that matches a file counts; files without one are sent as they are, and so are those of a rule that
    names neither encodings nor line ends. A byte order mark at the beginning of a source is understood and not passed
    on; at the destination there is one only where `encoding_to` says so. What has no text has no mark either.
    """

    match: str = "*"
    """Which files: an expression as in `source_filter`, on the path under the source folder."""
    encoding_from: str = ""
    """Encoding of the source's text, by any name that Python has for it: `utf-8`, `utf-16-le`, `cp1252`, `iso-8859-15`,
    the EBCDIC code pages `cp037`, `cp273`, `cp500`, `cp1140`, …; `utf-16` and `utf-32` need a byte order mark, which
    says in which order the bytes are. What is not in this encoding fails its file."""
    encoding_to: str = ""
    """Encoding at the destination. With a byte order mark: `utf-8-sig`, `utf-16` and `utf-32` (both little-endian);
    without: all others, also `utf-8`, `utf-16-le`, `utf-16-be`. A character that it does not have fails the file."""
    line_ends: Literal["keep", "lf", "crlf", "nel"] = "keep"
    """What lines end with at the destination. In the source CR LF and LF end them, in EBCDIC NEL (0x15) too; a CR by
    itself stays. `nel` is for EBCDIC, where `lf` is 0x25. Without encodings the bytes of ASCII are meant, which suits
    every encoding but UTF-16, UTF-32 and EBCDIC."""

    @property
    def converts(self) -> bool:
        """Whether it changes anything, or looks whether content is what it should be."""
        return bool(self.encoding_from) or self.line_ends != "keep"


class ArchiveSpec(Spec, frozen=True, kw_only=True):
    """`[transfers.ID.archive]`: keep a copy of what was delivered, and of what was given up."""

    location: str = ""
    """Where; empty: the source's own location, where moving there is one step. Sources that are kept are copied."""
    path: str = ""
    """Folder for what was delivered, made where it is missing; empty: none is kept."""
    failure_path: str = ""
    """Folder to which a file in quarantine is moved; empty: it stays in `.mft/`."""
    name: Literal["timestamp", "exact"] = "timestamp"
    """`timestamp`: the time of taking is added, in UTC, so that nothing is replaced. `exact`: a later file replaces an
    earlier one of its name."""
    retention_days: Annotated[int, Meta(ge=0, le=36500)] = 0
    """Days after which archived files are removed, by the time in their name; 0: never."""


class BatchSpec(Spec, frozen=True, kw_only=True):
    """`[transfers.ID.batch]`: files that belong together.

    None of a batch gets its final name before all stand at the partner; if one fails, all wait, also while one is in
    quarantine or uncertain. What is there when a batch is complete belongs to it, the oldest files first.
    """

    interval_s: SecondsOrNone = 0.0
    """Seconds for which no file may have come or changed before what is there makes a batch; 0: at once. Once
    `files_max` files are there, those make one, although more keep coming."""
    marker: str = ""
    """Expression, as in `source_filter`, of the file whose presence says that the batch is complete. It is delivered
    last, whether `source_filter` means it or not; empty: none."""
    files_max: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    """More files than this are more than one batch."""
    warn_after_s: SecondsOrNone = 600.0
    """Files that have waited for their batch for so many seconds, and for ten times `interval_s`, are told of (event
    70040), and again each hour; 0: never."""


class ExpectSpec(Spec, frozen=True, kw_only=True):
    """`[transfers.ID.expect]`: raise an alarm where too few files came."""

    files_min: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    """Files that must have been delivered in each period."""
    within_s: Seconds = 86400.0
    """Length of a period; they follow each other without a gap, from midnight of `time_zone`. Up to a day: each day is
    divided anew. Longer: so many whole days, counted from a Monday."""
    by: tuple[str, ...] = ()
    """Times of cron (minute, hour, day, month, weekday) by which they must have come, for example `0 8 * * mon-fri`:
    then a period is the time from one of them to the next, whatever `within_s` says."""
    calendars: tuple[str, ...] = ()
    """On the days of these calendars no time of `by` counts: what comes then counts for the next one."""
    time_zone: str = "UTC"
    """IANA name, for example `Europe/Berlin`."""


class RetrySpec(Spec, frozen=True, kw_only=True):
    """`[transfers.ID.retry]`: what to do with a file that fails by itself.

    Outages of a partner or of the storage are no fault of a file, and are waited for without end.
    """

    first_s: Seconds = 5.0
    """Wait before the second attempt; it doubles from attempt to attempt, with jitter."""
    most_s: Seconds = 300.0
    """Longest wait."""
    attempts_max: Annotated[int, Meta(ge=1, le=1000)] = 8
    """Attempts after which the file is put into quarantine: reported, left out, and sent on demand (`resend`)."""


class CommandsSpec(Spec, frozen=True, kw_only=True):
    """`[transfers.ID.commands]`: programs to run for each file, here or at the partner. None goes through a shell."""

    before: tuple[str, ...] = ()
    """Program and arguments; a status other than 0 fails the file. Arguments may have `{source.path}`, `{source.name}`,
    `{destination.path}`, `{destination.name}`, `{transfer}`, `{delivery}`; the same are in the environment
    (`SOURCE_PATH`, …)."""
    after_success: tuple[str, ...] = ()
    """After a delivery. What it comes to is reported and changes nothing. At least once: again after a failover."""
    after_failure: tuple[str, ...] = ()
    """When a file is put into quarantine, before it is moved to `failure_path` of the archive."""
    remote_before: tuple[str, ...] = ()
    """Steps at the destination before an upload, each one of `mkdir PATH`, `rm PATH`, `rmdir PATH`, `rename OLD NEW`;
    quoted as in a shell, with the placeholders of `before`."""
    remote_after: tuple[str, ...] = ()
    """Steps at the destination after a delivery; as `after_success`."""
    remote_after_failure: tuple[str, ...] = ()
    """Steps at the destination when a file is put into quarantine; what they come to is reported and changes nothing,
    also where the destination is what fails. The destination's name is the one that the name rules make."""
    timeout_s: Seconds = 30.0
    """After which a program is ended, with all that it has started, and has failed."""
