"""What a controller's management does beside answering calls, and how its parts are put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from mft.cluster import life
from mft.cluster.joining_etcd import Admissions
from mft.cluster.keys import Keys
from mft.cluster.store_disk import DiskStore
from mft.cluster.store_etcd import EtcdStore
from mft.controller.custody import Custody
from mft.controller.deliveries import RETENTION_DAYS, DeliveryStore
from mft.controller.home import STORE, Home
from mft.controller.link import Links
from mft.controller.operations import Operations
from mft.controller.restoring import Restoring
from mft.controller.transfers import Transfers
from mft.etcd.client import EtcdClient


class Management(NamedTuple):
    """The parts of a controller's management, ready to run."""

    operations: Operations
    custody: Custody
    restoring: Restoring
    admissions: Admissions
    transfers: Transfers
    links: Links

    async def run(self) -> None:
        """Keep etcd whole, end restores and admit nodes, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.custody.run(), name="custody")
            tasks.create_task(self.restoring.run(), name="restoring")
            tasks.create_task(self.admissions.run(), name="admissions")


def assemble(
    home: Home,
    etcd: EtcdClient,
    make_host_keys: Callable[[], tuple[str, ...]],
    retention_days: int = RETENTION_DAYS,
    *,
    name: str,
) -> Management:
    """Put the parts together for the cluster whose keys are in `home`. Nothing runs yet, nothing is connected.

    `name` tells this controller from others of the cluster.
    """
    keys, trust = Keys(home.pinned.cluster), home.pinned.trust()
    store = EtcdStore(etcd.kv, keys, trust)
    own = DiskStore(home.folder / STORE, keys.cluster, trust, keep=None)
    known = life.Life(etcd.kv, keys, keys.mark("controller", name), home.folder / life.FILE)
    custody = Custody(etcd, keys, store, own, key=home.signing_key, life=known, home=home)
    restoring = Restoring(etcd, keys, custody.check)
    admissions = Admissions(etcd, keys, lambda: home.pinned, home.signing_key)
    operations = Operations(
        etcd,
        store,
        own=own,
        custody=custody,
        restoring=restoring,
        sealer=home.pinned.sealer(),
        key=home.signing_key,
        forget=admissions.forget,
        make_host_keys=make_host_keys,
    )
    links = Links()
    transfers = Transfers(etcd, keys, links, DeliveryStore(home.folder, retention_days), operations.config)
    return Management(operations, custody, restoring, admissions, transfers, links)
