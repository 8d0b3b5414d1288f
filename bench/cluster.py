"""Failover and config latency of the whole cluster: `python -m bench.cluster [--quick] [--json]`.

The failover is measured by the demo, run as users run it: SIGKILL of every process of the leading node to the next
file that the partner receives. The config's latency is from the end of `mft-admin config apply` to a new listener
answering on both nodes. There is no peer to run beside: what other products document is a delay of minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from bench.report import Figure, report
from tests.rig.cluster import Cluster, greets
from tests.rig.waiting import eventually, free_port

DEMO_S_MAX = 180
LIVE_S_MAX = 20.0


def run_demo(seed: int) -> dict[str, Any]:
    """Run one demo and return its result line."""
    command = [str(Path(sys.executable).with_name("mft-demo")), "--json", "--seed", str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_S_MAX, check=False)
    lines = ended.stdout.strip().splitlines()
    if not lines:
        raise SystemExit(f"the demo with seed {seed} printed no result:\n{ended.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result


async def config_latencies(folder: Path, changes: int) -> list[float]:
    """Move a service from port to port on two nodes; return how long each change took to be live, in seconds."""
    cluster = Cluster(folder)
    document = cluster.base()
    took = []
    try:
        await cluster.start("a", "b")
        await cluster.apply(document)
        await cluster.whole("a", "b")
        file = folder / "config.json"
        for _ in range(changes):
            ports = [free_port(), free_port()]
            document["services"]["extra"] = {
                "type": "sftp",
                "run_on": "nodes",
                "listener": {"address": "127.0.0.1", "port": ports[0]},
            }
            document["nodes"]["b"]["overrides"]["services"]["extra"] = {"listener": {"port": ports[1]}}
            file.write_text(json.dumps(document), "utf-8")
            applied = await cluster.admin("config", "apply", str(file))
            assert applied.code == 0, applied.errors
            began = time.monotonic()
            for port in ports:
                await eventually(partial(greets, port), LIVE_S_MAX, what="the new listener answers")
            took.append(time.monotonic() - began)
    finally:
        cluster.kill()
    return took


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two demos and five changes instead of 20 and 20")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    arguments = parser.parse_args()
    runs = [run_demo(seed) for seed in range(2 if arguments.quick else 20)]
    with tempfile.TemporaryDirectory(prefix="mft-bench-") as folder:
        live = asyncio.run(config_latencies(Path(folder), 5 if arguments.quick else 20))
    measured = {
        "lost": float(sum(run["lost"] for run in runs)),
        "duplicates": float(sum(run["duplicates"] for run in runs)),
        "failover_s": max(run["failover_s"] for run in runs),
        "config_live_s": max(live),
    }
    figures = {
        "failover_s, most": Figure(measured["failover_s"], None, "s"),
        "failover_s, median": Figure(sorted(run["failover_s"] for run in runs)[len(runs) // 2], None, "s"),
        "ready_s, most": Figure(max(run["ready_s"] for run in runs), None, "s"),
        "config_live_s, most": Figure(measured["config_live_s"], None, "s"),
        "config_live_s, median": Figure(sorted(live)[len(live) // 2], None, "s"),
        "lost": Figure(measured["lost"], None, "files"),
        "duplicates": Figure(measured["duplicates"], None, "files"),
    }
    return report("cluster", figures, measured, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
