"""Dispatchers on real etcd. What a worker makes of a pass is said by the test, at the edge where the agent asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from mft.aio import Latest
from mft.cluster.keys import Keys
from mft.etcd.beside import beside
from mft.etcd.client import EtcdClient
from mft.etcd.election import Election
from mft.etcd.keeper import LeaseKeeper, lease_held
from mft.model.config import Config
from mft.model.delivery import Record
from mft.model.locations import LocalLocationSpec
from mft.model.transfers import TransferSpec
from mft.transfers.dispatcher import Commit, Dispatcher
from mft.transfers.steering import Ending, TransferStatus
from tests.rig.etcd import PATIENT, Etcd
from tests.rig.waiting import eventually

TTL_S = 20


class Ran(NamedTuple):
    """How a pass ended, as a worker says it."""

    error: str = ""
    error_class: str = ""
    location: str = ""
    delivered: int = 0
    failed: int = 0
    wait_s: float = 0.0
    gone: tuple[str, ...] = ()
    awaits: str = ""


class Pass:
    """One pass under way."""

    def __init__(self, node: str, transfer: str, records: Mapping[str, Record], commit: Commit, ending: Ending) -> None:
        self.node = node
        self.transfer = transfer
        self.records = dict(records)
        self.commit = commit
        self.ending = ending
        self.finish = ending.asked
        self.ended = False


Work = Callable[[Pass], Awaitable[Ran]]


async def nothing_there(_: Pass) -> Ran:
    """Make a pass that finds nothing."""
    return Ran()


class Node:
    """One candidate with a dispatcher of its own."""

    def __init__(self, field: Field, name: str, client: EtcdClient) -> None:
        self.name = name
        self._field = field
        self.withheld = Latest("")
        keeper = self.keeper = LeaseKeeper(client.leases, TTL_S)
        election = Election(client, keeper, prefix=field.keys.election("default"), value=name.encode())
        self.dispatcher = Dispatcher(
            group="default",
            election=election,
            etcd=client,
            keys=field.keys,
            config=field.config,
            make_pass=self._make_pass,
            emit=lambda event, fields: field.events.append((event, fields)),
            permission=self,
        )

    async def run(self) -> None:
        """Stand for election until cancelled."""
        async with beside(self.keeper.run(), name=f"keeper:{self.name}"):
            await lease_held(self.keeper)
            await self.dispatcher.run()

    async def confirm(self) -> str:
        """Say in which incarnation it may lead, as an agent does that knows of no restore."""
        return ((await self._field.client.kv.get(self._field.keys.incarnation)).value or b"").decode()

    async def leads(self) -> None:
        """Wait until it leads and dispatches."""
        await eventually(self.dispatcher.status)

    def status(self, transfer: str = "t") -> TransferStatus:
        """Say how a transfer is."""
        return self.dispatcher.status()[transfer]

    async def _make_pass(
        self, *, transfer: str, records: Mapping[str, Record], commit: Commit, ending: Ending, **_: Any
    ) -> Any:
        made = Pass(self.name, transfer, records, commit, ending)
        self._field.passes.append(made)
        try:
            return await self._field.work(made)
        finally:
            made.ended = True


class Field:
    """What the nodes share, and what they have done."""

    def __init__(self, client: EtcdClient, keys: Keys, endpoint: str) -> None:
        self.client = client
        self.keys = keys
        self.endpoint = endpoint
        self.config: Latest[Config] = Latest(Config())
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.passes: list[Pass] = []
        self.work: Work = nothing_there

    def set(self, **transfers: dict[str, Any]) -> None:
        """Use these transfers from now on, in place of all others."""
        locations = {name: LocalLocationSpec(root="/") for name in ("a", "b", "c")}
        self.config.set(
            Config(locations=dict(locations), transfers={id: spec(**fields) for id, fields in transfers.items()})
        )

    @asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[Node]:
        """Have a node stand for election while the block runs."""
        async with EtcdClient([self.endpoint]) as client:
            node = Node(self, name, client)
            async with beside(node.run(), name=f"node:{name}"):
                yield node

    def made(self, transfer: str = "t") -> int:
        """Count the passes of a transfer that have begun."""
        return sum(made.transfer == transfer for made in self.passes)

    def told(self, event: int) -> list[dict[str, Any]]:
        """Give the fields of all events of this id."""
        return [fields for id, fields in self.events if id == event]


def spec(**fields: Any) -> TransferSpec:
    """Describe a transfer that polls only once an hour, so that each pass of a test has another reason."""
    defaults: dict[str, Any] = {
        "source_location": "a",
        "source_path": "out",
        "destination_location": "b",
        "destination_path": "in",
        "poll_interval_s": 3600.0,
    }
    return TransferSpec(**(defaults | fields))


@pytest.fixture
async def field(etcd: Etcd, prefix: str) -> AsyncIterator[Field]:
    """Give a fresh cluster."""
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        keys = Keys(prefix)
        await client.kv.put(keys.incarnation, b"life")
        yield Field(client, keys, etcd.endpoint)
