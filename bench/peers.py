"""The programs that a benchmark runs beside ours, Debian packages unpacked below `.cache/peers`, not installed.

Other than the servers that tests need they are fetched at the first benchmark, not by `make setup`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tests.rig.binaries import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "deploy" / "setup"))

from debian import Apt, describe, installed_packages
from fetch_servers import BASE_SUITE, Server, write_wrapper

PEERS = REPOSITORY / ".cache" / "peers"
PROGRAMS = {"rclone": Server("rclone", "usr/bin/rclone"), "lftp": Server("lftp", "usr/bin/lftp")}


def fetch_peers() -> dict[str, str]:
    """Have the peers at hand. Returns package → version. Raises `debian.FetchError`."""
    report = PEERS / "versions.json"
    if not report.exists():
        building = PEERS.with_name(PEERS.name + ".building")
        shutil.rmtree(building, ignore_errors=True)
        (building / "bin").mkdir(parents=True)
        apt = Apt(PEERS.with_name("apt-peers"), BASE_SUITE, security=True)
        apt.update()
        wanted = {program.package for program in PROGRAMS.values()}
        versions = apt.fetch(apt.with_libraries(wanted, installed_packages()), building / "root")
        apt.remove()
        for name, program in PROGRAMS.items():
            write_wrapper(building, name, program)
        (building / "versions.json").write_text(json.dumps(versions), "utf-8")
        building.rename(PEERS)
        print(f"bench: unpacked {describe(versions)}", flush=True)
    versions = json.loads(report.read_text("utf-8"))
    return {name: versions[program.package] for name, program in PROGRAMS.items()}


def peer(name: str) -> Path:
    """Return the path of one of them."""
    return PEERS / "bin" / name
