"""The statements of the store of deliveries."""

from __future__ import annotations

from typing import Final

from mft.controller.deliveries_rows import OUTCOMES, Question
from mft.errors import Invalid, Problem

VERSION: Final = 1
LIMIT_MAX: Final = 1000

COLUMNS: Final = (
    "delivery, transfer, outcome, reason, source_path, destination_path, location, size_bytes, sha256, node, run, "
    "attempts, config_version, term, at"
)

SCHEMA: Final = f"""
BEGIN;
CREATE TABLE deliveries (
    delivery TEXT PRIMARY KEY,
    transfer TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    source_path TEXT NOT NULL,
    destination_path TEXT NOT NULL,
    source_name TEXT NOT NULL,
    destination_name TEXT NOT NULL,
    location TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    node TEXT NOT NULL,
    run INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    config_version INTEGER NOT NULL,
    term INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX deliveries_at ON deliveries (at, delivery);
CREATE INDEX deliveries_transfer ON deliveries (transfer, at);
CREATE INDEX deliveries_held ON deliveries (outcome, at) WHERE outcome <> 'delivered';
CREATE INDEX deliveries_source ON deliveries (source_path);
CREATE INDEX deliveries_destination ON deliveries (destination_path);
CREATE INDEX deliveries_source_name ON deliveries (source_name);
CREATE INDEX deliveries_destination_name ON deliveries (destination_name);
CREATE TABLE troubles (
    transfer TEXT NOT NULL,
    at REAL NOT NULL,
    node TEXT NOT NULL,
    event INTEGER NOT NULL,
    severity TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX troubles_transfer ON troubles (transfer, at);
CREATE INDEX troubles_at ON troubles (at);
CREATE TABLE marks (
    node TEXT NOT NULL,
    spool TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (node, spool)
);
PRAGMA user_version = {VERSION};
COMMIT;
"""

# What was delivered stays delivered, however late a failure before it is told by another instance. What a later event
# does not say (a failure knows no checksum) stays as an earlier one said it.
UPSERT: Final = """
INSERT INTO deliveries (
    delivery, transfer, outcome, reason, source_path, destination_path, source_name, destination_name, location,
    size_bytes, sha256, node, run, config_version, term, at, attempts
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (delivery) DO UPDATE SET
    outcome = excluded.outcome,
    reason = excluded.reason,
    source_path = coalesce(nullif(excluded.source_path, ''), source_path),
    destination_path = coalesce(nullif(excluded.destination_path, ''), destination_path),
    source_name = coalesce(nullif(excluded.source_name, ''), source_name),
    destination_name = coalesce(nullif(excluded.destination_name, ''), destination_name),
    location = coalesce(nullif(excluded.location, ''), location),
    size_bytes = coalesce(nullif(excluded.size_bytes, 0), size_bytes),
    sha256 = coalesce(nullif(excluded.sha256, ''), sha256),
    node = excluded.node,
    run = excluded.run,
    config_version = coalesce(nullif(excluded.config_version, 0), config_version),
    term = coalesce(nullif(excluded.term, 0), term),
    at = excluded.at,
    attempts = attempts + 1
WHERE deliveries.outcome <> 'delivered' AND (excluded.outcome = 'delivered' OR excluded.at >= deliveries.at)
"""
ADD_TROUBLE: Final = "INSERT INTO troubles (transfer, at, node, event, severity, text) VALUES (?, ?, ?, ?, ?, ?)"
MARK: Final = "INSERT OR REPLACE INTO marks (node, spool, sequence) VALUES (?, ?, ?)"
TROUBLES: Final = "SELECT at, node, event, severity, text FROM troubles WHERE transfer = ? ORDER BY at DESC LIMIT ?"
PURGE_DELIVERIES: Final = (
    "DELETE FROM deliveries WHERE rowid IN (SELECT rowid FROM deliveries WHERE at < ? ORDER BY at LIMIT ?)"
)
CAP_TROUBLES: Final = "DELETE FROM troubles WHERE rowid <= (SELECT max(rowid) FROM troubles) - ?"
PURGE_TROUBLES: Final = "DELETE FROM troubles WHERE rowid IN (SELECT rowid FROM troubles WHERE at < ? LIMIT ?)"


def question(asked: Question) -> tuple[str, list[object]]:
    """Write the statement that answers a question, with its values; it gives one row more where there are more.

    Raises:
        Invalid: the question cannot be understood.
    """
    if not 1 <= asked.limit <= LIMIT_MAX:
        raise Invalid(f"the limit is from 1 to {LIMIT_MAX}")
    if asked.outcome and asked.outcome not in OUTCOMES.values():
        known = ", ".join(sorted(OUTCOMES.values()))
        raise Invalid("there is no such outcome", (Problem("outcome", f"expected one of {known}"),))
    terms: list[str] = []
    values: list[object] = []
    for term, value in (
        ("transfer = ?", asked.transfer),
        ("outcome = ?", asked.outcome),
        ("at >= ?", asked.since),
        ("at < ?", asked.until),
    ):
        if value:
            terms.append(term)
            values.append(value)
    if asked.outcome and asked.outcome != "delivered":
        terms.append("outcome <> 'delivered'")  # In these words, or the index of those few is not used.
    if asked.path:
        columns = ("source_path", "destination_path") if "/" in asked.path else ("source_name", "destination_name")
        terms.append("(" + " OR ".join(f"{column} GLOB ?" for column in columns) + ")")
        values += [asked.path, asked.path]
    if asked.after:
        at, _, delivery = asked.after.partition(":")
        try:
            values += [float(at), delivery]
        except ValueError as error:
            raise Invalid("`after` is what an answer's `next` said") from error
        terms.append("(at, delivery) < (?, ?)")
    where = f"WHERE {' AND '.join(terms)} " if terms else ""
    text = f"SELECT {COLUMNS} FROM deliveries {where}ORDER BY at DESC, delivery DESC LIMIT ?"
    return text, [*values, asked.limit + 1]
