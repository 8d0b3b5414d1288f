"""Where the programs of others are: `$MFT_ETCD`, then PATH, then what `make` has fetched below `.cache`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mft.errors import NotFound

_FETCHED = Path(__file__).resolve().parents[2] / ".cache" / "servers" / "bin"


def find_etcd() -> str:
    """Give the path of the etcd server.

    Raises:
        NotFound: there is none.
    """
    named = os.environ.get("MFT_ETCD")
    if named:
        if shutil.which(named) is None:
            raise NotFound(f"$MFT_ETCD names {named}, which is no program that can be run")
        return named
    return find_program("etcd", "install etcd 3.5.28 or later, or name it in $MFT_ETCD")


def find_program(name: str, remedy: str) -> str:
    """Give the path of a program on PATH, in the folders where servers are, or among what was fetched.

    Raises:
        NotFound: there is none; the message ends with `remedy`.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", str(_FETCHED)))
    found = shutil.which(name, path=path)
    if found is None:
        raise NotFound(f"there is no {name} on this machine: {remedy}")
    return found
