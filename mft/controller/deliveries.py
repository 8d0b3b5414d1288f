"""The controller's store of deliveries: one row for each file, from the events that instances send over their links.

SQLite in the controller's data folder, in write-ahead mode: one thread writes, another one reads. What the events say
is put in by `add`, once each: an event that comes again is known by its sequence number, a delivery by its id.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog

from mft.aio import Threads
from mft.controller import deliveries_sql as sql
from mft.controller.deliveries_rows import Arrived, Found, Page, Question, Trouble, row_of, trouble_of
from mft.errors import Exhausted, Invalid, Unavailable

FILE = "deliveries.db"
RETENTION_DAYS = 365
TROUBLE_DAYS_MAX = 90
TROUBLES_MAX = 1_000_000
"""Of all transfers together: a partner that refuses every file for weeks must not fill the disk."""
QUERY_S_MAX = 20.0
_PURGE_ROWS = 5000
"""Rows removed in one step, so that what comes in waits for little."""
_STEPS_BETWEEN_LOOKS = 100_000
_BUSY_S = 10.0

T = TypeVar("T")


class _Mark(NamedTuple):
    node: str
    spool: str


class DeliveryStore:
    """All deliveries that this controller has heard of, for as long as `retention_days` says. Close it at the end."""

    def __init__(self, folder: Path, retention_days: int = RETENTION_DAYS) -> None:
        self._path = folder / FILE
        self._retention_days = retention_days
        self._writer = Threads(1, "deliveries:write")
        self._reader = Threads(1, "deliveries:read")
        self._writing: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._log = structlog.get_logger()

    async def open(self) -> None:
        """Open or make the file. One that is damaged is put aside.

        Raises:
            Invalid: it was made by a newer program.
            Unavailable: it cannot be opened.
        """
        self._writing = await self._writer.run(self._open)
        self._reading = await self._reader.run(_connect, self._path)

    async def stored(self, node: str, spool: str) -> int:
        """Return the greatest sequence number that was stored of this spool; 0 for none."""
        return await self._write(lambda base: _stored(base, _Mark(node, spool)))

    async def add(self, node: str, spool: str, events: Iterable[Arrived]) -> int:
        """Store events, in the order of their sequence numbers. Returns the greatest number that is stored now.

        Raises:
            Unavailable: they cannot be stored now; the same ones may be given again.
        """
        ordered = sorted(events, key=lambda event: event.sequence)
        return await self._write(lambda base: _add(base, _Mark(node, spool), ordered))

    async def find(self, question: Question) -> Page:
        """Answer "was it sent?", newest first.

        Raises:
            Invalid: the question cannot be understood.
            Exhausted: it takes too long to answer.
        """
        text, values = sql.question(question)
        rows = await self._read(lambda base: base.execute(text, values).fetchall())
        found = tuple(Found(*row) for row in rows[: question.limit])
        following = f"{found[-1].at!r}:{found[-1].delivery}" if len(rows) > question.limit else ""
        return Page(found, following)

    async def known(self, delivery: str) -> Found | None:
        """Return what is known of one delivery."""
        text = f"SELECT {sql.COLUMNS} FROM deliveries WHERE delivery = ?"
        row = await self._read(lambda base: base.execute(text, (delivery,)).fetchone())
        return Found(*row) if row else None

    async def troubles(self, transfer: str, limit: int) -> tuple[Trouble, ...]:
        """Return what went wrong with a transfer, newest first."""
        rows = await self._read(lambda base: base.execute(sql.TROUBLES, (transfer, limit)).fetchall())
        return tuple(Trouble(*row) for row in rows)

    async def purge(self, now: float) -> int:
        """Remove what is older than it is to be kept. Returns how many deliveries that were."""
        removed = 0
        days = self._retention_days
        for text, before in (
            (sql.PURGE_DELIVERIES, now - days * 86400.0),
            (sql.PURGE_TROUBLES, now - min(days, TROUBLE_DAYS_MAX) * 86400.0),
        ):
            gone = _PURGE_ROWS
            while gone == _PURGE_ROWS:
                gone = await self._write(partial(_purge, text, before))
                removed += gone if text is sql.PURGE_DELIVERIES else 0
        await self._write(lambda base: base.execute(sql.CAP_TROUBLES, (TROUBLES_MAX,)))
        return removed

    async def close(self) -> None:
        """Close the file."""
        for threads, base in ((self._reader, self._reading), (self._writer, self._writing)):
            if base is not None:
                await threads.run(base.close)
            threads.close()

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        base = _opened(self._writing)
        return await self._writer.run(self._translated, lambda: _in_transaction(base, work))

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        base = _opened(self._reading)
        return await self._reader.run(self._translated, lambda: _within(base, work, QUERY_S_MAX))

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.Error as error:
            raise Unavailable(f"the store of deliveries {self._path} cannot be used: {error}") from error

    def _open(self) -> sqlite3.Connection:
        try:
            return self._made()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise Unavailable(f"the store of deliveries {self._path} cannot be opened: {error}") from error
            aside = self._path.with_name(f"{FILE}.damaged-{int(time.time())}")
            self._log.error("the store of deliveries is damaged; a new one is begun", aside=str(aside))
            self._path.replace(aside)
            for rest in ("-wal", "-shm"):
                self._path.with_name(FILE + rest).unlink(missing_ok=True)
            return self._made()

    def _made(self) -> sqlite3.Connection:
        base = _connect(self._path)
        try:
            self._path.chmod(0o600)
            (version,) = base.execute("PRAGMA user_version").fetchone()
            if version > sql.VERSION:
                raise Invalid(f"{self._path} was made by a newer program: install that one, or move the file away")
            if version == 0:
                base.executescript(sql.SCHEMA)
            return base
        except BaseException:
            base.close()
            raise


def _opened(base: sqlite3.Connection | None) -> sqlite3.Connection:
    if base is None:
        raise Unavailable("the store of deliveries is not open: the controller is starting, or its log says why not")
    return base


def _connect(path: Path) -> sqlite3.Connection:
    # Each connection is used by one thread alone, but not by the one that closes it.
    base = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = FULL")  # What is answered as stored is removed at its instance.
    base.execute("PRAGMA cache_size = -65536")  # 64 MiB: the indexes' pages that are written again and again.
    base.execute("PRAGMA wal_autocheckpoint = 8000")
    return base


def _in_transaction(base: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    base.execute("BEGIN IMMEDIATE")
    try:
        result = work(base)
        base.execute("COMMIT")
        return result
    except BaseException:
        if base.in_transaction:
            base.execute("ROLLBACK")
        raise


def _within(base: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], limit_s: float) -> T:
    """Read, but not for ever: one question must not keep all others waiting."""
    until = time.monotonic() + limit_s
    base.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN_LOOKS)
    try:
        return work(base)
    except sqlite3.OperationalError as error:
        if time.monotonic() > until:
            too_long = f"this takes longer than {limit_s:g} s to look up: name a transfer or a shorter time"
            raise Exhausted(too_long) from error
        raise
    finally:
        base.set_progress_handler(None, 0)


def _stored(base: sqlite3.Connection, mark: _Mark) -> int:
    row = base.execute("SELECT sequence FROM marks WHERE node = ? AND spool = ?", mark).fetchone()
    return int(row[0]) if row else 0


def _add(base: sqlite3.Connection, mark: _Mark, events: list[Arrived]) -> int:
    stored = _stored(base, mark)
    for event in events:
        if event.sequence <= stored:
            continue
        stored = event.sequence
        if row := row_of(mark.node, event):
            base.execute(sql.UPSERT, row)
        if trouble := trouble_of(mark.node, event):
            base.execute(sql.ADD_TROUBLE, trouble)
    base.execute(sql.MARK, (*mark, stored))
    return stored


def _purge(text: str, before: float, base: sqlite3.Connection) -> int:
    return base.execute(text, (before, _PURGE_ROWS)).rowcount
