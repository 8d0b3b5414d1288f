"""What an instance counts, for Prometheus. Events are counted as they pass by, so that no place has to think of it.

Labels are of the config alone (transfers, locations), of the catalogue or of fixed words: nobody can make a series by
naming a file or trying an account. What leaves the config leaves the counters too.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from mft.agent.supervisor import Worker, WorkerOwner
from mft.aio import boottime
from mft.events import catalogue
from mft.events.event import Event
from mft.model.config import Config
from mft.transfers.steering import TransferStatus
from mft.worker.frames import Report

PASS_BUCKETS_S = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)
_LAG_EVERY_S = 0.5
_LAG_KEPT = 120
"""Measurements of the loop's lag from which the largest is told: one minute."""

LOGINS: Mapping[int, str] = {
    catalogue.LOGIN_ACCEPTED: "accepted",
    catalogue.LOGIN_REJECTED: "rejected",
    catalogue.LOGIN_FORBIDDEN: "forbidden",
    catalogue.ACCOUNT_UNKNOWN: "unknown-account",
}
DELIVERIES: Mapping[int, str] = {
    catalogue.FILE_DELIVERED: "delivered",
    catalogue.FILE_FAILED_WILL_RETRY: "failed",
    catalogue.FILE_QUARANTINED: "quarantined",
    catalogue.DELIVERY_UNCERTAIN: "uncertain",
    catalogue.DESTINATION_KEPT: "skipped",
}
CONNECTIONS: Mapping[int, str] = {
    catalogue.PARTNER_CONNECTED: "connected",
    catalogue.PARTNER_FAILED_WILL_RETRY: "failed",
    catalogue.PARTNER_IS_ANOTHER: "wrong-identity",
}


Labels = tuple[str, ...]
"""The values of a series' labels."""


class State(NamedTuple):
    """How the instance is at this moment."""

    version: int
    """Of the config that is in use; 0: none yet."""
    ready: bool
    problems: int
    etcd_connected: bool
    etcd_share: float
    """Share of etcd's quota that is taken; 0: not known."""
    lease_s: float
    """Seconds until what it leads must stop; 0 without a lease."""
    is_withheld: bool
    """Whether it must not lead, because etcd was restored."""
    groups: Mapping[str, bool]
    """Leader group → whether this instance leads it."""
    sessions: int
    runs: int
    transfers: Mapping[str, TransferStatus]
    """Transfer → how it is, for all that are led here."""
    spool_events: int
    """Events on their way to the controllers."""


class Counts(NamedTuple):
    """What was counted since the program began. Each maps the values of its labels to a number."""

    events: Counter[Labels]
    logins: Counter[Labels]
    deliveries: Counter[Labels]
    bytes: Counter[Labels]
    connections: Counter[Labels]
    passes: Counter[Labels]
    pass_buckets: list[int]
    """How many passes took at most as long as each of `PASS_BUCKETS_S`, and in the end those that took longer."""
    pass_s: list[float]
    """One number: what all passes took together."""
    workers_begun: Counter[Labels]
    workers_ended: Counter[Labels]

    @classmethod
    def none(cls) -> Counts:
        """Begin at zero."""
        return cls(
            events=Counter(),
            logins=Counter(),
            deliveries=Counter(),
            bytes=Counter(),
            connections=Counter(),
            passes=Counter(),
            pass_buckets=[0] * (len(PASS_BUCKETS_S) + 1),
            pass_s=[0.0],
            workers_begun=Counter(),
            workers_ended=Counter(),
        )

    def copy(self) -> Counts:
        """Give the numbers of this moment, which change no more."""
        return Counts(*(counted.copy() for counted in self))  # type: ignore[arg-type]


class _Passed(Protocol):
    """How a pass ended; see `mft.transfers.dispatcher.PassResult`."""

    @property
    def error(self) -> str: ...

    @property
    def failed(self) -> int: ...


_P = ParamSpec("_P")
_R = TypeVar("_R", bound=_Passed)


class Metrics:
    """Counts what passes by."""

    def __init__(self) -> None:
        self._counts = Counts.none()
        self._config = Config()
        self._lags: deque[float] = deque([0.0], maxlen=_LAG_KEPT)

    @property
    def counts(self) -> Counts:
        """What was counted until now."""
        return self._counts.copy()

    @property
    def lag_s(self) -> float:
        """For how long the loop stood still at most, within the last minute."""
        return max(self._lags)

    def configure(self, config: Config) -> None:
        """Count for the transfers and locations of this config, and forget those of others."""
        self._config = config
        for counted, known in (
            (self._counts.deliveries, config.transfers),
            (self._counts.bytes, config.transfers),
            (self._counts.passes, config.transfers),
            (self._counts.connections, config.locations),
        ):
            for labels in [labels for labels in counted if labels[0] not in known]:
                del counted[labels]

    def note(self, event: Event) -> None:
        """Count one event; never waits."""
        self._counts.events[str(event.id),] += 1
        if outcome := LOGINS.get(event.id):
            self._counts.logins[outcome,] += 1
        if (outcome := DELIVERIES.get(event.id)) and (
            transfer := event.fields.get("transfer")
        ) in self._config.transfers:
            self._counts.deliveries[transfer, outcome] += 1
            if event.id == catalogue.FILE_DELIVERED:
                self._counts.bytes[transfer,] += int(event.fields.get("size_bytes", 0))
        if (outcome := CONNECTIONS.get(event.id)) and (
            location := event.fields.get("location")
        ) in self._config.locations:
            self._counts.connections[location, outcome] += 1

    def timed(self, make_pass: Callable[_P, Coroutine[Any, Any, _R]]) -> Callable[_P, Coroutine[Any, Any, _R]]:
        """Count the passes that this makes, and how long each takes. It is called with `transfer=…`."""

        async def timed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            began, result = boottime(), "failed"
            try:
                passed = await make_pass(*args, **kwargs)
                result = "failed" if passed.error else "files-failed" if passed.failed else "ok"
                return passed
            except asyncio.CancelledError:
                result = "cancelled"
                raise
            finally:
                self._passed(str(kwargs["transfer"]), result, boottime() - began)

        return timed

    def counted(self, kind: str, owner: WorkerOwner) -> WorkerOwner:
        """Count the workers of this owner."""
        return _Counted(kind, owner, self._counts)

    async def run(self) -> None:
        """Watch for how long the loop stands still, until cancelled."""
        while True:
            before = boottime()
            await asyncio.sleep(_LAG_EVERY_S)
            self._lags.append(max(0.0, boottime() - before - _LAG_EVERY_S))

    def _passed(self, transfer: str, result: str, took_s: float) -> None:
        if transfer in self._config.transfers:
            self._counts.passes[transfer, result] += 1
        self._counts.pass_buckets[bisect_left(PASS_BUCKETS_S, took_s)] += 1
        self._counts.pass_s[0] += took_s


class _Counted:
    """Stands between a supervisor and the owner of its workers."""

    def __init__(self, kind: str, owner: WorkerOwner, counts: Counts) -> None:
        self._kind = kind
        self._owner = owner
        self._counts = counts
        self._alive: set[int] = set()

    def began(self, worker: Worker) -> None:
        """Count it, and pass it on."""
        self._alive.add(worker.number)
        self._counts.workers_begun[self._kind,] += 1
        self._owner.began(worker)

    def reported(self, worker: Worker, report: Report) -> None:
        """Pass it on."""
        self._owner.reported(worker, report)

    def ended(self, worker: Worker) -> None:
        """Count it, and pass it on. One that never came up was not counted as begun either."""
        if worker.number in self._alive:
            self._alive.discard(worker.number)
            self._counts.workers_ended[self._kind,] += 1
        self._owner.ended(worker)
