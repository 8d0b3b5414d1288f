"""What is counted, how it is named, and that the page is one that Prometheus' own parser reads."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Mapping
from typing import NamedTuple

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from mft.agent.health import Health
from mft.agent.metrics import Metrics, State
from mft.agent.metrics_page import Moment
from mft.aio import cancel_and_wait
from mft.events import catalogue
from mft.events.bus import Bus
from mft.model.config import Config
from mft.model.locations import LocalLocationSpec, LocationSpec
from mft.model.transfer_parts import ArchiveSpec
from mft.model.transfers import TransferSpec
from mft.transfers.steering import TransferStatus
from tests.rig.waiting import eventually, free_port

LOCATIONS: Mapping[str, LocationSpec] = {
    "here": LocalLocationSpec(root="/srv"),
    "partner": LocalLocationSpec(root="/mnt"),
}
OUT = TransferSpec(source_location="here", source_path="out", destination_location="partner", destination_path="in")
IDLE = State(
    version=7,
    ready=True,
    problems=0,
    etcd_connected=True,
    etcd_share=0.25,
    lease_s=8.5,
    is_withheld=False,
    groups={"default": True, "other": False},
    sessions=3,
    runs=1,
    transfers={"out": TransferStatus(transfer="out", state="idle", open=2, quarantined=1, last_pass_at=1.7e9)},
    spool_events=12,
)


class Passed(NamedTuple):
    """How a pass ended."""

    error: str = ""
    failed: int = 0


def counting(*transfers: str) -> tuple[Metrics, Bus]:
    """Give metrics that see what the bus takes, for a config with these transfers."""
    metrics = Metrics()
    metrics.configure(config_of(*transfers))
    return metrics, Bus(instance="a", tap=metrics.note)


def config_of(*transfers: str) -> Config:
    return Config(locations={**LOCATIONS}, transfers=dict.fromkeys(transfers, OUT))


def page(metrics: Metrics, state: State = IDLE, config: Config | None = None) -> bytes:
    """Write the page."""
    config = config or config_of("out")
    moment = Moment(program="1.0", role="node", config=config, counts=metrics.counts, state=state, lag_s=0.25)
    return moment.page()[1]


def samples(text: bytes) -> Mapping[str, float]:
    """Read a page: `name{label=value,…}` → value."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_events_are_counted() -> None:
    """Goal: no place needs to count by itself. Method: emit what deliveries, logins and partners emit."""
    metrics, bus = counting("out")
    for size in (10, 32):
        bus.emit(catalogue.FILE_DELIVERED, {"transfer": "out", "path": "/a", "size_bytes": size})
    bus.emit(catalogue.FILE_QUARANTINED, {"transfer": "out", "path": "/b", "attempts": 8, "reason": "no"})
    bus.emit(catalogue.LOGIN_REJECTED, {"account": "ann", "address": "192.0.2.1"})
    bus.emit(catalogue.PARTNER_IS_ANOTHER, {"location": "partner", "address": "x", "reason": "no"})
    found = samples(page(metrics))
    assert found["mft_deliveries_total{outcome=delivered,transfer=out}"] == 2
    assert found["mft_deliveries_total{outcome=quarantined,transfer=out}"] == 1
    assert found["mft_delivered_bytes_total{transfer=out}"] == 42
    assert found["mft_logins_total{outcome=rejected}"] == 1
    assert found["mft_partner_connections_total{location=partner,outcome=wrong-identity}"] == 1
    assert found["mft_events_total{id=60012,name=file-delivered,severity=info}"] == 2


def test_state_is_told() -> None:
    """Goal: what an operator watches stands there. Method: a leader of one group of two, with one transfer."""
    found = samples(page(Metrics()))
    assert found[f"mft_build_info{{python={platform.python_version()},role=node,version=1.0}}"] == 1
    assert found["mft_leader{group=default}"] == 1
    assert found["mft_leader{group=other}"] == 0
    assert found["mft_lease_deadline_seconds"] == 8.5
    assert found["mft_event_loop_lag_seconds"] == 0.25
    assert found["mft_open_deliveries{transfer=out}"] == 2
    assert found["mft_quarantined_files{transfer=out}"] == 1
    assert found["mft_last_pass_timestamp_seconds{transfer=out}"] == 1.7e9
    assert "mft_next_pass_timestamp_seconds{transfer=out}" not in found, "none is due"
    assert found["mft_transfer_state{state=idle,transfer=out}"] == 1
    assert found["mft_location_broken{location=partner}"] == 0
    assert found["process_resident_memory_bytes"] > 0


def test_a_broken_location_is_told() -> None:
    """Goal: an alarm can name the partner. Method: a transfer that waits for it."""
    broken = {"out": TransferStatus(transfer="out", state="broken", location="partner", failures=3)}
    found = samples(page(Metrics(), IDLE._replace(transfers=broken)))
    assert (found["mft_location_broken{location=partner}"], found["mft_location_broken{location=here}"]) == (1, 0)
    config = Config(
        locations={**LOCATIONS, "kept": LOCATIONS["here"]},
        transfers={"out": replace(OUT, archive=ArchiveSpec(location="kept"))},
    )
    assert samples(page(Metrics(), config=config))["mft_location_broken{location=kept}"] == 0, "it is a place as well"
    assert found["mft_pass_failures{transfer=out}"] == 3


def test_nobody_makes_series_by_names() -> None:
    """Goal: the page stays as small as the config. Method: events of unknown transfers; then one leaves the config."""
    metrics, bus = counting("out", "gone")
    for transfer in ("out", "gone", *(f"invented-{number}" for number in range(100))):
        bus.emit(catalogue.FILE_DELIVERED, {"transfer": transfer, "path": "/a", "size_bytes": 1})
        bus.emit(catalogue.PARTNER_CONNECTED, {"location": transfer, "address": "x"})
    assert b"invented" not in page(metrics)
    assert b'"gone"' in page(metrics)
    metrics.configure(config_of("out"))
    assert b'"gone"' not in page(metrics)
    assert samples(page(metrics))["mft_deliveries_total{outcome=delivered,transfer=out}"] == 1


async def test_passes_are_timed() -> None:
    """Goal: each pass counts once, however it ends. Method: one of each kind, one of them cancelled."""
    metrics, _ = counting("out")

    async def make_pass(*, transfer: str, result: Passed | Exception) -> Passed:
        if isinstance(result, Exception):
            raise result
        await asyncio.sleep(3600 if result.error == "wait" else 0)
        return result

    timed = metrics.timed(make_pass)
    await timed(transfer="out", result=Passed())
    await timed(transfer="out", result=Passed(failed=2))
    await timed(transfer="out", result=Passed(error="no"))
    with pytest.raises(OSError, match="dead"):
        await timed(transfer="out", result=OSError("dead"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(timed(transfer="out", result=Passed(error="wait")), 0.01)
    found = samples(page(metrics))
    results = {"ok": 1, "files-failed": 1, "failed": 2, "cancelled": 1}
    assert {result: found[f"mft_passes_total{{result={result},transfer=out}}"] for result in results} == results
    assert found["mft_pass_duration_seconds_count"] == found["mft_pass_duration_seconds_bucket{le=+Inf}"] == 5
    assert found["mft_pass_duration_seconds_bucket{le=3600.0}"] == 5
    assert found["mft_pass_duration_seconds_sum"] >= 0.01


async def test_a_loop_that_stands_still_is_noticed() -> None:
    """Goal: what endangers leases is seen. Method: block the loop for a moment."""
    metrics = Metrics()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(metrics.run(), name="metrics")
        await asyncio.sleep(0)

        def seen() -> bool:
            if metrics.lag_s < 0.3:
                time.sleep(0.9)
            return metrics.lag_s >= 0.3

        await eventually(seen, what="the lag is told")
        await cancel_and_wait(running)


async def test_it_is_served() -> None:
    """Goal: Prometheus can read it. Method: ask over HTTP, whole and for the head alone."""
    metrics, _ = counting("out")
    address = f"127.0.0.1:{free_port()}"

    async def metrics_page() -> tuple[str, bytes]:
        return "text/plain; version=0.0.4; charset=utf-8", page(metrics)

    async def ask(method: str) -> bytes:
        try:
            reader, writer = await asyncio.open_connection(*address.split(":"))
        except OSError:
            return b""
        writer.write(f"{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(Health(address, lambda: (True, {}), metrics_page).run(), name="health")

        async def is_answered() -> bool:
            return (await ask("HEAD")).startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4;")

        await eventually(is_answered, what="the page is served")
        _, _, body = (await ask("GET")).partition(b"\r\n\r\n")
        assert samples(body)["mft_config_version"] == 7
        assert (await ask("HEAD")).endswith(b"\r\n\r\n")
        await cancel_and_wait(serving)
