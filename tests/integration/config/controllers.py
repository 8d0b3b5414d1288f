"""Controllers' management on a real etcd, without the process around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mft.controller import home
from mft.controller.home import Home
from mft.controller.management import Management, assemble
from mft.etcd.client import EtcdClient
from mft.services.host_keys import make_host_keys
from tests.rig.etcd import Etcd


def keys_in(folder: Path, cluster: str) -> Home:
    """Return the cluster's keys, made at the first call."""
    return home.load(folder, cluster) if (folder / home.SIGNING_KEY).exists() else home.init(folder, cluster)


@asynccontextmanager
async def management(etcd: Etcd, folder: Path, cluster: str, keys: Home | None = None) -> AsyncIterator[Management]:
    """Put a controller's management together; with `keys` a second controller of the same cluster."""
    own = keys_in(folder, cluster) if keys is None else keys._replace(folder=folder)
    async with EtcdClient([etcd.endpoint]) as client:
        yield assemble(own, client, make_host_keys, name=own.folder.name)
