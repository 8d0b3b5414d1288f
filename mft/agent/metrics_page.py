"""The page that Prometheus reads: names, units and texts of all that is measured, made from numbers of one moment."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from mft.agent.metrics import PASS_BUCKETS_S, Counts, Labels, State
from mft.events.catalogue import CATALOGUE
from mft.model.config import Config
from mft.model.transfers import locations_of


class Moment(Collector):
    """One instance at one moment. Pure data: it may be written down in a thread."""

    def __init__(self, *, program: str, role: str, config: Config, counts: Counts, state: State, lag_s: float) -> None:
        self._program = program
        self._role = role
        self._config = config
        self._counts = counts
        self._state = state
        self._lag_s = lag_s

    def page(self) -> tuple[str, bytes]:
        """Write all of it, and what the system says of the process, in Prometheus' text format. Give its type too."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand; one registry has one of these."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        yield from self._instance()
        yield from self._counted()
        yield from self._passes()
        yield from self._transfers()

    def _instance(self) -> Iterator[Metric]:
        state = self._state
        build: dict[Labels, float] = {(self._program, self._role, platform.python_version()): 1}
        yield _gauge("mft_build_info", "The program; always 1.", ("version", "role", "python"), build)
        for name, about, value in (
            ("mft_config_version", "Config version in use; 0: none yet.", state.version),
            ("mft_ready", "1 while /readyz says ready.", state.ready),
            ("mft_problems", "Components of the config that do not work here.", state.problems),
            ("mft_etcd_connected", "1 while a lease is held at etcd.", state.etcd_connected),
            ("mft_etcd_quota_ratio", "Share of etcd's quota that is taken; 0: not known.", state.etcd_share),
            ("mft_lease_deadline_seconds", "Seconds until what is led here must stop.", state.lease_s),
            ("mft_leading_withheld", "1 while it must not lead, after a restore of etcd.", state.is_withheld),
            ("mft_sessions", "Open inbound sessions.", state.sessions),
            ("mft_passes_running", "Passes under way.", state.runs),
            ("mft_spool_events", "Events on their way to the controllers.", state.spool_events),
            ("mft_event_loop_lag_seconds", "Longest stand-still of the loop within a minute.", self._lag_s),
        ):
            yield GaugeMetricFamily(name, about, float(value))
        groups: dict[Labels, float] = {(group,): leads for group, leads in state.groups.items()}
        yield _gauge("mft_leader", "1 while this instance leads the group, 0 while it stands by.", ("group",), groups)

    def _counted(self) -> Iterator[Metric]:
        counts = self._counts
        events: dict[Labels, float] = {_event(id): count for (id,), count in counts.events.items()}
        yield _counter("mft_events", "Events, by number.", ("id", "name", "severity"), events)
        yield _counter("mft_logins", "Logins, by what came of them.", ("outcome",), counts.logins)
        yield _counter(
            "mft_partner_connections",
            "Connections to partners: made, failed, refused because of the host key.",
            ("location", "outcome"),
            counts.connections,
        )
        alive: dict[Labels, float] = {kind: n - counts.workers_ended[kind] for kind, n in counts.workers_begun.items()}
        yield _gauge("mft_workers", "Worker processes that are alive.", ("kind",), alive)
        yield _counter("mft_workers_ended", "Worker processes that ended.", ("kind",), counts.workers_ended)

    def _passes(self) -> Iterator[Metric]:
        counts = self._counts
        about = "Files delivered, and attempts that failed, by what came of them."
        yield _counter("mft_deliveries", about, ("transfer", "outcome"), counts.deliveries)
        yield _counter("mft_delivered_bytes", "Bytes of delivered files.", ("transfer",), counts.bytes)
        yield _counter("mft_passes", "Passes, by how they ended.", ("transfer", "result"), counts.passes)
        durations = HistogramMetricFamily("mft_pass_duration_seconds", "How long passes took, of all transfers.")
        total, buckets = 0, []
        for bound, count in zip([*map(str, PASS_BUCKETS_S), "+Inf"], counts.pass_buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        durations.add_metric([], buckets, counts.pass_s[0])
        yield durations

    def _transfers(self) -> Iterator[Metric]:
        """Tell of the transfers that are led here."""
        led = self._state.transfers
        for name, about, field in (
            ("mft_open_deliveries", "Deliveries uploaded and not yet finished.", "open"),
            ("mft_uncertain_deliveries", "Deliveries that are uncertain and wait for an operator.", "held"),
            ("mft_quarantined_files", "Files that were put aside after too many attempts.", "quarantined"),
            ("mft_pass_failures", "Passes in a row that failed.", "failures"),
            ("mft_missed_starts", "Times of the schedule without a run of their own.", "missed"),
            ("mft_last_pass_timestamp_seconds", "When the newest pass began.", "last_pass_at"),
            ("mft_next_pass_timestamp_seconds", "When the next pass is due.", "next_pass_at"),
        ):
            told: dict[Labels, float] = {}
            for id, status in led.items():
                if (value := getattr(status, field)) is not None:
                    told[id,] = value
            yield _gauge(name, about, ("transfer",), told)
        states: dict[Labels, float] = {(id, str(status.state)): 1 for id, status in led.items()}
        yield _gauge("mft_transfer_state", "1 for what the transfer does now.", ("transfer", "state"), states)
        yield _gauge(
            "mft_location_broken", "1 while its transfers wait because it fails.", ("location",), self._broken()
        )

    def _broken(self) -> Mapping[Labels, float]:
        """Say of each location of a transfer that is led here whether its breaker is open."""
        found: dict[Labels, float] = {}
        for id, status in self._state.transfers.items():
            if (spec := self._config.transfers.get(id)) is not None:
                for location in locations_of(spec):
                    found.setdefault((location,), 0)
            if status.state == "broken" and status.location in self._config.locations:
                found[status.location,] = 1
        return found


def _event(id: str) -> Labels:
    entry = CATALOGUE[int(id)]
    return id, entry.name, entry.severity


def _gauge(name: str, about: str, labels: Labels, values: Mapping[Labels, float]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, float(value))
    return family


def _counter(name: str, about: str, labels: Labels, values: Mapping[Labels, float]) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, float(value))
    return family
