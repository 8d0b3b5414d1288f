"""Every event there is: number, severity, text. A number is never reused and never changes its meaning.

Where an event means the same as one of SFTPPlus, it has the same number, so that operators' filters keep working;
70000 and above are ours alone.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Literal, NamedTuple

from mft.events.event import Severity

INSTANCE_STARTED = 20001
INSTANCE_STOPPED = 20002
ADDRESS_REFUSED = 20005
ACCOUNT_UNKNOWN = 20021
PARTNER_FAILED_WILL_RETRY = 20035
LOGIN_FORBIDDEN = 20136
LOGIN_ACCEPTED = 20137
CONFIG_REJECTED = 20138
PARTNER_CONNECTING = 20140
PARTNER_CONNECTED = 20141
LOGIN_REJECTED = 20142
COMPONENT_STARTED = 20156
COMPONENT_STOPPED = 20157
COMPONENT_FAILED = 20158
HANDLER_FAILED = 20165
SESSION_OPENED = 30011
CONNECTION_OPENED = 30014
CONNECTION_CLOSED = 30015
DOWNLOAD_FAILED = 30041
UPLOAD_FAILED = 30042
DOWNLOAD_BEGUN = 30043
UPLOAD_BEGUN = 30044
TOO_MANY_OPEN = 30051
DOWNLOAD_DONE = 30067
UPLOAD_DONE = 30068
PARTNER_IS_ANOTHER = 30071
CONFIG_APPLIED = 50017
FILE_FAILED_WILL_RETRY = 60011
FILE_DELIVERED = 60012
FILE_QUARANTINED = 60013
BATCH_FAILED_WILL_RETRY = 60016
BATCH_DELIVERED = 60017
INTERNAL_ERROR = 60018
TOO_FEW_FILES = 60019
SCHEDULE_SET = 60020
SCHEDULE_STARTED = 60022
SCHEDULE_LATE = 60023
FILE_ARCHIVED = 60025
FILE_NOT_ARCHIVED = 60026
DESTINATION_KEPT = 60030
DESTINATION_RENAMED = 60031
TRANSFER_BEGUN = 60039
TRANSFER_ENDED = 60040
PARTNER_PAUSED = 60070
TRANSFER_CANCELLED = 60078
SOURCE_VANISHED = 60080
PARTNER_RESUMED = 60082
SOURCE_NOT_NOTIFIED = 60085
LEADER_GAINED = 70001
LEADER_LOST = 70002
RUN_FAILED_WILL_RETRY = 70003
DELIVERY_UNCERTAIN = 70004
EVENTS_LOST = 70005
ETCD_LOST = 70006
ETCD_REGAINED = 70007
HANDLER_RECOVERED = 70008
COMMAND_FAILED = 70009
TRANSFER_PAUSED = 70010
TRANSFER_RESUMED = 70011
LEADERSHIP_YIELDED = 70012
RESEND_REQUESTED = 70013
SCHEDULE_SKIPPED = 70014
RUN_REQUESTED = 70015
PARTNER_DISCONNECTED = 70016
TAKEN_IS_ORPHANED = 70017
RECORDS_NOT_KEPT = 70018
RECORDS_KEPT_AGAIN = 70019
DESTINATION_FOLDER_MISSING = 70020
LEDGER_FILLS = 70030
BATCH_WAITS = 70040
LEADING_WITHHELD = 70050
LEADING_PERMITTED = 70051
ETCD_FILLS = 70060
ETCD_FULL = 70061
ETCD_HAS_ROOM = 70062


Group = Literal["operation", "config", "cluster", "login", "session", "file", "transfer", "location"]


class Entry(NamedTuple):
    """What the catalogue says of one event. `text` names its fields in braces; other fields may be added."""

    name: str
    severity: Severity
    group: Group
    text: str

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that the text shows, in its order."""
        return tuple(field for _, field, _, _ in string.Formatter().parse(self.text) if field)


CATALOGUE: Mapping[int, Entry] = {
    INSTANCE_STARTED: Entry("instance-started", "info", "operation", "Program {program} started as {role}."),
    INSTANCE_STOPPED: Entry("instance-stopped", "info", "operation", "The program stopped in order."),
    ADDRESS_REFUSED: Entry("address-refused", "warning", "login", "Connection from {address} refused: {reason}."),
    ACCOUNT_UNKNOWN: Entry(
        "account-unknown", "warning", "login", "Login from {address} as {account}: there is no such account."
    ),
    LOGIN_FORBIDDEN: Entry(
        "login-forbidden", "warning", "login", "Login of {account} from {address} forbidden: {reason}."
    ),
    LOGIN_ACCEPTED: Entry("login-accepted", "info", "login", "{account} logged in from {address} by {method}."),
    CONFIG_REJECTED: Entry(
        "config-rejected", "error", "config", "Config version {version} cannot be used here: {reason}"
    ),
    LOGIN_REJECTED: Entry("login-rejected", "warning", "login", "Login of {account} from {address} rejected."),
    COMPONENT_STARTED: Entry("component-started", "info", "operation", "{component} started."),
    COMPONENT_STOPPED: Entry("component-stopped", "info", "operation", "{component} stopped."),
    COMPONENT_FAILED: Entry("component-failed", "error", "operation", "{component} cannot run: {reason}"),
    HANDLER_FAILED: Entry(
        "handler-failed", "error", "operation", "Event handler {component} failed and tries again: {reason}"
    ),
    SESSION_OPENED: Entry("session-opened", "info", "session", "{account} opened an SFTP session from {address}."),
    CONNECTION_OPENED: Entry("connection-opened", "info", "session", "Connection from {address} to {service}."),
    CONNECTION_CLOSED: Entry("connection-closed", "info", "session", "Connection from {address} to {service} closed."),
    DOWNLOAD_FAILED: Entry("download-failed", "error", "file", "{account}: reading {path} failed: {reason}"),
    UPLOAD_FAILED: Entry("upload-failed", "error", "file", "{account}: writing {path} failed: {reason}"),
    DOWNLOAD_BEGUN: Entry("download-begun", "info", "file", "{account} opened {path} for reading."),
    UPLOAD_BEGUN: Entry("upload-begun", "info", "file", "{account} opened {path} for writing."),
    TOO_MANY_OPEN: Entry("too-many-open", "warning", "session", "{account} has too many files open."),
    DOWNLOAD_DONE: Entry("download-done", "info", "file", "{account} has read {path}: {size_bytes} bytes."),
    UPLOAD_DONE: Entry("upload-done", "info", "file", "{account} has written {path}: {size_bytes} bytes."),
    CONFIG_APPLIED: Entry("config-applied", "info", "config", "Config version {version} is in use."),
    FILE_FAILED_WILL_RETRY: Entry(
        "file-failed-will-retry",
        "warning",
        "transfer",
        "Transfer {transfer}: {path} could not be delivered now: {reason}",
    ),
    FILE_DELIVERED: Entry(
        "file-delivered", "info", "transfer", "Transfer {transfer}: {path} delivered, {size_bytes} bytes."
    ),
    LEADER_GAINED: Entry("leader-gained", "info", "cluster", "This instance leads group {leader_group}, term {term}."),
    LEADER_LOST: Entry(
        "leader-lost", "info", "cluster", "This instance leads group {leader_group} no more, term {term}."
    ),
    RUN_FAILED_WILL_RETRY: Entry(
        "run-failed-will-retry",
        "warning",
        "transfer",
        "Transfer {transfer}: the pass failed and is made again: {reason}",
    ),
    DELIVERY_UNCERTAIN: Entry(
        "delivery-uncertain",
        "error",
        "transfer",
        "Transfer {transfer}: it is not known whether {path} was delivered: {reason}",
    ),
    EVENTS_LOST: Entry(
        "events-lost", "critical", "operation", "{count} events for handler {component} were lost: its queue was full."
    ),
    ETCD_LOST: Entry(
        "etcd-lost", "warning", "cluster", "etcd cannot be reached: {reason}. Inbound goes on, outbound pauses."
    ),
    HANDLER_RECOVERED: Entry(
        "handler-recovered", "info", "operation", "Event handler {component} works again after {failures} failures."
    ),
    ETCD_REGAINED: Entry("etcd-regained", "info", "cluster", "etcd is reached again."),
    PARTNER_FAILED_WILL_RETRY: Entry(
        "partner-failed-will-retry",
        "warning",
        "location",
        "Location {location}: no connection, it is tried again: {reason}",
    ),
    PARTNER_CONNECTING: Entry(
        "partner-connecting", "info", "location", "Location {location}: connecting to {address}."
    ),
    PARTNER_CONNECTED: Entry("partner-connected", "info", "location", "Location {location}: connected to {address}."),
    PARTNER_IS_ANOTHER: Entry(
        "partner-is-another",
        "error",
        "location",
        "Location {location}: {address} is not the server it should be: {reason}",
    ),
    PARTNER_DISCONNECTED: Entry(
        "partner-disconnected", "info", "location", "Location {location}: connection to {address} ended: {reason}."
    ),
    PARTNER_PAUSED: Entry(
        "partner-paused",
        "warning",
        "location",
        "Location {location} fails, so its transfers pause for {wait_s} s: {reason}",
    ),
    PARTNER_RESUMED: Entry(
        "partner-resumed", "info", "location", "Location {location} works again; its transfers go on."
    ),
    FILE_QUARANTINED: Entry(
        "file-quarantined",
        "error",
        "transfer",
        "Transfer {transfer}: {path} is put aside after {attempts} attempts: {reason}",
    ),
    BATCH_FAILED_WILL_RETRY: Entry(
        "batch-failed-will-retry",
        "error",
        "transfer",
        "Transfer {transfer}: a batch of {files} files failed, and all of them wait: {reason}",
    ),
    BATCH_DELIVERED: Entry(
        "batch-delivered", "info", "transfer", "Transfer {transfer}: a batch of {files} files is delivered."
    ),
    INTERNAL_ERROR: Entry("internal-error", "critical", "transfer", "Transfer {transfer}: {reason}"),
    TOO_FEW_FILES: Entry(
        "too-few-files",
        "error",
        "transfer",
        "Transfer {transfer}: {files} of at least {files_min} files came from {begin} to {end}.",
    ),
    SCHEDULE_SET: Entry("schedule-set", "info", "transfer", "Transfer {transfer} starts next at {at}."),
    SCHEDULE_STARTED: Entry("schedule-started", "info", "transfer", "Transfer {transfer} starts as planned for {at}."),
    SCHEDULE_LATE: Entry(
        "schedule-late",
        "warning",
        "transfer",
        "Transfer {transfer} starts late, now instead of at {at}: {reason}",
    ),
    SCHEDULE_SKIPPED: Entry(
        "schedule-skipped", "warning", "transfer", "Transfer {transfer} leaves out its start of {at}: {reason}"
    ),
    FILE_ARCHIVED: Entry("file-archived", "info", "transfer", "Transfer {transfer}: {path} is archived as {archive}."),
    FILE_NOT_ARCHIVED: Entry(
        "file-not-archived", "error", "transfer", "Transfer {transfer}: {path} could not be archived: {reason}"
    ),
    DESTINATION_KEPT: Entry(
        "destination-kept",
        "warning",
        "transfer",
        "Transfer {transfer}: {destination} was there and is kept; {path} is not sent.",
    ),
    DESTINATION_RENAMED: Entry(
        "destination-renamed",
        "info",
        "transfer",
        "Transfer {transfer}: {destination} was there, so {renamed} is named with the time.",
    ),
    DESTINATION_FOLDER_MISSING: Entry(
        "destination-folder-missing",
        "warning",
        "transfer",
        "Transfer {transfer}: there is no folder {folder} at the destination, so {path} is delivered as {destination}.",
    ),
    TRANSFER_BEGUN: Entry("transfer-begun", "info", "transfer", "Transfer {transfer} is made here now."),
    TRANSFER_ENDED: Entry("transfer-ended", "info", "transfer", "Transfer {transfer} is not made here any more."),
    TRANSFER_CANCELLED: Entry(
        "transfer-cancelled", "warning", "transfer", "Transfer {transfer}: what was going on is cancelled by {by}."
    ),
    SOURCE_VANISHED: Entry(
        "source-vanished", "warning", "transfer", "Transfer {transfer}: {path} vanished before it was taken."
    ),
    SOURCE_NOT_NOTIFIED: Entry(
        "source-not-notified",
        "warning",
        "transfer",
        "Transfer {transfer}: no file that comes into {path} is told of, it is polled or looked at by `cron`: {reason}",
    ),
    COMMAND_FAILED: Entry(
        "command-failed", "warning", "transfer", "Transfer {transfer}: {command} for {path} failed: {reason}"
    ),
    TRANSFER_PAUSED: Entry("transfer-paused", "warning", "transfer", "Transfer {transfer} is paused by {by}."),
    TRANSFER_RESUMED: Entry("transfer-resumed", "info", "transfer", "Transfer {transfer} goes on, by {by}."),
    RESEND_REQUESTED: Entry(
        "resend-requested", "info", "transfer", "Transfer {transfer}: {path} is sent again, by {by}."
    ),
    RUN_REQUESTED: Entry("run-requested", "info", "transfer", "Transfer {transfer} starts now, by {by}."),
    TAKEN_IS_ORPHANED: Entry(
        "taken-is-orphaned",
        "warning",
        "transfer",
        "Location {location}: {path} was taken by a transfer that is no longer in the config, and nobody delivers it.",
    ),
    LEADERSHIP_YIELDED: Entry(
        "leadership-yielded", "warning", "cluster", "This instance gives group {leader_group} to {to}: {reason}"
    ),
    RECORDS_NOT_KEPT: Entry(
        "records-not-kept",
        "critical",
        "transfer",
        "What this instance delivers cannot be noted on its disk, so a restore of etcd could send it again: {reason}",
    ),
    RECORDS_KEPT_AGAIN: Entry(
        "records-kept-again",
        "warning",
        "transfer",
        "What this instance delivers is noted on its disk again; {lost} entries are missing there.",
    ),
    LEDGER_FILLS: Entry(
        "ledger-fills",
        "warning",
        "transfer",
        "Transfer {transfer}: its ledger of kept sources holds {entries} of at most {most}; archive some, or delete "
        "sources.",
    ),
    BATCH_WAITS: Entry(
        "batch-waits",
        "warning",
        "transfer",
        "Transfer {transfer}: {files} files have waited for their batch since {since}: {reason}",
    ),
    LEADING_WITHHELD: Entry(
        "leading-withheld", "critical", "cluster", "This instance makes no outbound transfers: {reason}"
    ),
    ETCD_FILLS: Entry(
        "etcd-fills",
        "warning",
        "cluster",
        "etcd takes {percent} % of its quota ({size_bytes} of {quota_bytes} bytes, {used_bytes} in use): compact and "
        "defragment it, or raise the quota; a full one grants no lease, so nobody can take over.",
    ),
    ETCD_FULL: Entry(
        "etcd-full",
        "critical",
        "cluster",
        "etcd is full ({size_bytes} of {quota_bytes} bytes, {used_bytes} in use) and refuses writes: compact and "
        "defragment it, or raise the quota, then `etcdctl alarm disarm`.",
    ),
    ETCD_HAS_ROOM: Entry("etcd-has-room", "info", "cluster", "etcd takes {percent} % of its quota."),
    LEADING_PERMITTED: Entry(
        "leading-permitted", "info", "cluster", "This instance may make outbound transfers again."
    ),
}


class _Shown(dict[str, object]):
    """Fields as a text shows them; one that is missing shows as a question mark instead of losing the event."""

    def __missing__(self, key: str) -> str:
        return "?"


def text_of(id: int, fields: Mapping[str, object]) -> str:
    """Write the event's sentence."""
    return CATALOGUE[id].text.format_map(_Shown(fields))
