"""Where the servers and clients are that tests run: `.cache/servers`, which `make setup` fills, then PATH."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Literal

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SERVERS = REPOSITORY / ".cache" / "servers"

EtcdVersion = Literal["default", "3.4", "newest"]
"""`default`: `$MFT_ETCD` or the newest there is. `3.4`: Debian 12's. `newest`: Debian unstable's, else skip."""


def find(name: str) -> Path:
    """Return the path of the program `name`; the test fails with what to do if it is nowhere."""
    fetched = SERVERS / "bin" / name
    if fetched.exists():
        return fetched
    if found := shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/lib/openssh"):
        return Path(found).absolute()
    raise FileNotFoundError(f"{name} is neither in {fetched.parent} nor on PATH: run `make setup`")


def find_etcd(name: str, version: EtcdVersion = "default") -> Path:
    """Return the path of `etcd` or `etcdctl` in that version; skip the test if the newest could not be had."""
    if version == "default":
        chosen = os.environ.get("MFT_ETCD")
        return Path(chosen).absolute().with_name(name) if chosen else find(name)
    program = SERVERS / f"etcd-{version}" / name
    if program.exists():
        return program
    if version == "newest":
        pytest.skip(f"the newest etcd is not here: {_why_missing()}")
    raise FileNotFoundError(f"{program} is not there: run `make setup`")


def _why_missing() -> str:
    try:
        report = json.loads((SERVERS / "versions.json").read_text("utf-8"))
    except (OSError, ValueError):
        return "run `make setup`"
    return str(report.get("etcd-newest-missing", "run `make setup`"))
