"""The run itself: upload through both nodes, kill the leader on the way, and count what the partner received."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from mft.cli.demo_cluster import CLUSTER, NODES, TRANSFER, Cluster, run_cluster
from mft.cli.demo_files import SampleFile, make_files
from mft.cli.demo_kill import Killer, Killing
from mft.cli.demo_moment import STATES, KillAt, taken
from mft.cli.demo_partner import Consumer, Partner, Received, run_partner
from mft.cli.demo_view import Counts, View
from mft.cluster.keys import Keys
from mft.errors import MftError
from mft.etcd.client import EtcdClient

CLIENTS_PER_NODE = 2
_FAILOVER_S_MAX = 60.0
_DELIVERY_S_MAX = 120.0
_LATE_S = 1.5
"""How long a late second copy is waited for when all is quiet: more than one more pass of the transfer."""
_LOOK_EVERY_S = 0.02
_POLL_S_SLOW, _POLL_S = 60, 1
"""How often the transfer looks for files: at first seldom, so that there is a backlog when the leader dies, on a fast
machine too."""


class DemoOptions(Struct, frozen=True, kw_only=True):
    """What one run is to do."""

    seed: int
    kill_at: KillAt
    files: int

    @property
    def undelivered_least(self) -> int:
        """How many uploaded files must not have been delivered when the leader is killed."""
        return self.files // 4


class Outcome(Struct, frozen=True, kw_only=True):
    """What a run came to: the line of `--json`."""

    uploaded: int
    delivered: int
    lost: int
    duplicates: int
    failover_s: float
    ready_s: float
    killed_at: str
    in_flight: int

    @property
    def is_good(self) -> bool:
        """Whether every file arrived exactly once."""
        return not self.lost and not self.duplicates and self.delivered == self.uploaded


class Story:
    """One run in one folder."""

    def __init__(self, options: DemoOptions, folder: Path, began: float) -> None:
        self._options = options
        self._folder = folder
        self._began = began
        self._draw = random.Random(options.seed)
        self._uploaded: set[str] = set()
        self._consumer: Consumer | None = None
        self._states = dict.fromkeys(NODES, "starts")

    def counts(self) -> Counts:
        """Say how far the run is."""
        delivered = len(self._consumer.names()) if self._consumer else 0
        return Counts(self._options.files, len(self._uploaded), delivered, tuple(self._states.items()))

    @asynccontextmanager
    async def told(self, view: View) -> AsyncIterator[tuple[Outcome, Cluster]]:
        """Make the run; give its outcome and the cluster, which goes on until the block ends.

        Raises:
            MftError: it cannot be made on this machine, or something did not come in time.
        """
        logs = self._folder / "logs"
        logs.mkdir(parents=True)
        files = await asyncio.to_thread(
            make_files, self._folder / "customer-files", self._options.files, self._options.seed
        )
        view.step(_described(files))
        async with (
            run_partner(self._folder / "partner", logs / "partner.log") as partner,
            run_cluster(self._folder) as cluster,
            EtcdClient([cluster.etcd]) as etcd,
            asyncio.TaskGroup() as tasks,
        ):
            self._consumer = partner.consumer
            watching = tasks.create_task(self._watch(view), name="progress")
            await self._get_ready(cluster, partner, view)
            ready_s = time.monotonic() - self._began
            killing = await self._upload_and_kill(cluster, partner, etcd, files, view)
            failover_s = await self._see_failover(cluster, partner, killing, view)
            await self._finish(cluster, partner, etcd)
            watching.cancel()
            received = await asyncio.to_thread(partner.consumer.compare, {file.name: file.sha256 for file in files})
            self._conclude(received, view)
            outcome = Outcome(
                uploaded=len(self._uploaded),
                delivered=received.delivered,
                lost=len(received.lost),
                duplicates=len(received.duplicates),
                failover_s=round(failover_s, 3),
                ready_s=round(ready_s, 3),
                killed_at=killing.killed_at.value,
                in_flight=killing.in_flight,
            )
            yield outcome, cluster

    async def mend(self, cluster: Cluster, view: View) -> None:
        """Start the killed node again, so that whoever goes on by hand has a whole cluster."""
        killed = next(node for node, state in self._states.items() if state == "killed")
        await cluster.begin_node(killed)
        leader = await cluster.leader()
        self._states = {node: "leads" if node == leader else "stands by" for node in NODES}
        view.step(f"node {killed} has been started again")

    async def _watch(self, view: View) -> None:
        while True:
            view.moved()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _get_ready(self, cluster: Cluster, partner: Partner, view: View) -> None:
        view.step(f"controller with etcd, nodes {' and '.join(NODES)} and a partner's SFTP server have been started")
        version = await cluster.apply(partner, _POLL_S_SLOW)
        view.step(f"config version {version} is published: {cluster.config_file}")
        leader = await cluster.leader()
        self._states = {node: "leads" if node == leader else "stands by" for node in NODES}
        view.step(f"both nodes are ready; {leader} is elected to make the transfers")

    async def _upload_and_kill(
        self, cluster: Cluster, partner: Partner, etcd: EtcdClient, files: Sequence[SampleFile], view: View
    ) -> Killing:
        """Upload through both nodes, let the leader deliver, and kill it at work."""
        view.step(f"{CLIENTS_PER_NODE} sftp clients on each node begin to upload")
        wanted = self._options.kill_at
        if wanted is KillAt.ANY:
            wanted = self._draw.choice(STATES)
        async with asyncio.TaskGroup() as tasks:
            uploads = {
                node: tasks.create_task(self._upload(cluster, node, files), name=f"upload:{node}") for node in NODES
            }
        version = await cluster.apply(partner, _POLL_S)
        view.step(f"all files are uploaded; config version {version} has the transfer look for files every second")
        await self._see_deliveries()
        killing = await Killer(cluster, partner, etcd, self._draw).kill_leader(
            wanted, uploads, self._undelivered, self._options.undelivered_least
        )
        other = next(node for node in NODES if node != killing.node)
        self._states = {killing.node: "killed", other: "stands by"}
        view.step(
            f"node {killing.node} is killed, all its {killing.processes} processes; deliveries in flight: "
            f"{killing.in_flight}, among them one {_phrase(killing.killed_at)}; "
            f"uploaded and not yet delivered: {killing.undelivered}"
        )
        return killing

    async def _see_deliveries(self) -> None:
        """Wait until the leader is well under way: a tenth of the files has arrived."""
        assert self._consumer is not None
        deadline = time.monotonic() + _DELIVERY_S_MAX
        while len(self._consumer.names()) < self._options.files // 10:
            if time.monotonic() > deadline:
                raise MftError(f"the leader delivered nothing within {_DELIVERY_S_MAX:.0f} s")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _upload(self, cluster: Cluster, node: str, files: Sequence[SampleFile]) -> None:
        """Upload this node's share, by several clients at one time."""
        share = files[NODES.index(node) :: len(NODES)]
        parts = [part for number in range(CLIENTS_PER_NODE) if (part := share[number::CLIENTS_PER_NODE])]
        async with asyncio.TaskGroup() as tasks:
            for number, part in enumerate(parts):
                upload = cluster.customer.upload(part, cluster.ports[node], cluster.outgoing.name, self._acknowledge)
                tasks.create_task(upload, name=f"sftp:{node}:{number}")

    def _acknowledge(self, file: SampleFile) -> None:
        self._uploaded.add(file.name)

    def _undelivered(self) -> int:
        assert self._consumer is not None
        return len(self._uploaded - self._consumer.names())

    async def _see_failover(self, cluster: Cluster, partner: Partner, killing: Killing, view: View) -> float:
        """Wait for the first delivery by another node; return the seconds since the kill."""
        deadline = killing.at + _FAILOVER_S_MAX
        other = next(node for node in NODES if node != killing.node)
        while time.monotonic() < deadline:
            cluster.nodes[other].check_running()
            times = [arrival.at for arrival in partner.consumer.arrivals if arrival.at > killing.known_at]
            if times:
                failover_s = min(times) - killing.at
                self._states[other] = "leads"
                view.step(f"node {other} delivers, {failover_s:.1f} s after the kill")
                return failover_s
            await asyncio.sleep(_LOOK_EVERY_S)
        said = cluster.nodes[other].last_line()
        raise MftError(
            f"no delivery within {_FAILOVER_S_MAX:.0f} s after the leader was killed; node {other} says: {said}"
        )

    async def _finish(self, cluster: Cluster, partner: Partner, etcd: EtcdClient) -> None:
        """Wait until nothing is on its way any more, and then for what must not come."""
        journal = Keys(CLUSTER).journal(TRANSFER)
        deadline = time.monotonic() + _DELIVERY_S_MAX
        while time.monotonic() < deadline:
            waiting = any(not entry.name.startswith(".") for entry in cluster.outgoing.iterdir())
            if not waiting and not taken(cluster.outgoing) and not await etcd.kv.count_prefix(journal):
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        # Past the deadline the count tells what is missing.
        await asyncio.sleep(_LATE_S)

    def _conclude(self, received: Received, view: View) -> None:
        for name in received.lost[:5]:
            view.step(f"LOST: {name} did not arrive, or not with its content")
        for name in received.duplicates[:5]:
            view.step(f"DUPLICATE: {name} arrived once more")
        view.step(
            f"the partner received {received.delivered} of {len(self._uploaded)} files with the right content: "
            f"{len(received.lost)} lost, {len(received.duplicates)} duplicates"
        )


def _described(files: Sequence[SampleFile]) -> str:
    sizes = [file.size_bytes for file in files]
    return (
        f"{len(files)} files, {sum(sizes) / 1e6:.0f} MB: the smallest has {min(sizes)} bytes, "
        f"half of them less than {statistics.median(sizes) / 1e3:.0f} kB, the largest {max(sizes) / 1e6:.1f} MB"
    )


def _phrase(state: KillAt) -> str:
    return {
        KillAt.UPLOADING: "partly uploaded",
        KillAt.INTENT: "uploaded and about to be renamed",
        KillAt.RENAMED: "renamed, but not yet journalled as done",
    }.get(state, state.value)
