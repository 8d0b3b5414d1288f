"""What transfers cost that have nothing to do: `python -m bench.transfers [--quick] [--json]`.

A cluster of real programs with one node, which makes a pass over each transfer's empty folder once a minute. Measured
once passes are steady: CPU of the node's agent and of its worker, calls to etcd; and how long the node takes from the
config's apply to the first pass over the last transfer. No peer is run beside: none makes passes of 10,000 transfers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from bench.report import Figure, report
from tests.rig.cluster import Cluster, Document
from tests.rig.waiting import eventually

POLL_S = WINDOW_S = 60.0
BEGIN_S_MAX = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Over a minute."""

    agent_s: float
    worker_s: float
    etcd_calls: float
    passes: int
    begin_s: float
    agent_mib: float


def cpu_s(pid: int) -> float:
    """Processor time of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(pid: int) -> float:
    """Memory of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def etcd_calls(endpoint: str) -> float:
    """Calls that etcd has answered so far."""
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("grpc_server_handled_total{"))


def looked_at(folder: Path, count: int) -> int:
    """Count the folders that were listed: a pass reads a folder, and that changes its time of access."""
    return sum((folder / f"f{number}").stat().st_atime > 0 for number in range(count))


def document(cluster: Cluster, transfers: int) -> Document:
    """Describe so many transfers between local folders, each with its own."""
    base = cluster.base()
    base["services"], base["nodes"] = {}, {}
    base["transfers"] = {
        f"t{number}": {
            "run_on": "nodes",
            "leader_group": "default",
            "source_location": "shared",
            "source_path": f"out/f{number}",
            "destination_location": "shared",
            "destination_path": "in",
            "poll_interval_s": POLL_S,
        }
        for number in range(transfers)
    }
    return base


async def measure(folder: Path, transfers: int, window_s: float) -> Cost:
    """Start a cluster, apply, wait until each transfer was looked at, and measure for a while."""
    cluster = Cluster(folder)
    out = cluster.home / "out"
    for number in range(transfers):
        (out / f"f{number}").mkdir(parents=True)
        os.utime(out / f"f{number}", (0, 0))
    (cluster.home / "in").mkdir()
    try:
        await cluster.start("a")
        await cluster.apply({**document(cluster, 0)})
        await cluster.whole("a")
        began = time.monotonic()
        await cluster.apply(document(cluster, transfers))
        await eventually(lambda: looked_at(out, transfers) == transfers, BEGIN_S_MAX, what="passes", every_s=0.5)
        begin_s = time.monotonic() - began
        node = cluster.nodes["a"]
        await asyncio.sleep(5)  # The burst of the beginning is another matter.
        agent, (worker,) = node.agent(), node.workers("outbound")
        assert cluster.etcd is not None
        before = cpu_s(agent), cpu_s(worker), etcd_calls(cluster.endpoint), time.monotonic()
        for number in range(transfers):
            os.utime(out / f"f{number}", (0, 0))
        await asyncio.sleep(window_s)
        after = cpu_s(agent), cpu_s(worker), etcd_calls(cluster.endpoint), time.monotonic()
        scale = 60.0 / (after[3] - before[3])
        made = looked_at(out, transfers)
        return Cost(
            (after[0] - before[0]) * scale,
            (after[1] - before[1]) * scale,
            (after[2] - before[2]) * scale,
            made,
            begin_s,
            resident_mib(agent),
        )
    finally:
        cluster.kill()


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 and 1,000 transfers instead of up to 10,000")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    arguments = parser.parse_args()
    figures: dict[str, Figure] = {}
    measured: dict[str, float] = {}
    for transfers in (1, 1000) if arguments.quick else (1, 100, 1000, 10_000):
        with tempfile.TemporaryDirectory(prefix="mft-bench-") as folder:
            cost = asyncio.run(measure(Path(folder), transfers, WINDOW_S))
        figures |= {
            f"{transfers:6} agent CPU": Figure(cost.agent_s, None, "s/min"),
            f"{transfers:6} worker CPU": Figure(cost.worker_s, None, "s/min"),
            f"{transfers:6} etcd calls": Figure(cost.etcd_calls, None, "/min"),
            f"{transfers:6} passes in the window": Figure(cost.passes, None, ""),
            f"{transfers:6} apply to last first pass": Figure(cost.begin_s, None, "s"),
            f"{transfers:6} agent memory": Figure(cost.agent_mib, None, "MiB"),
        }
        measured[f"agent_cpu_s_{transfers}"] = cost.agent_s
    return report("transfers", figures, measured, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
