"""The cluster under trial: programs as users start them, small disks of their own, and roads that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from mft.etcd.client import EtcdClient
from mft.transfers.record_file import read_records
from tests.faults.link import Link
from tests.faults.moment import HELD_BY_ANSWERS, WORKER_FIRST, Moment, State, look
from tests.faults.notes import Notes
from tests.faults.producer import MARKER, Produced
from tests.faults.verdict import Left, Took
from tests.rig.cluster import Cluster, Document, Program, clean_environment
from tests.rig.etcd_cluster import EtcdCluster
from tests.rig.processes import ServerProcess, is_alive
from tests.rig.waiting import eventually

Flow = Literal["move", "copy", "batch"]
FLOWS: Mapping[Flow, dict[str, Any]] = {
    "move": {},
    "copy": {"delete_source": False},
    "batch": {"batch": {"marker": MARKER}},
}
"""Flow → what it changes in the transfer."""
TRANSFER = "out"
_DISK_BYTES = 96 << 20
_KEPT_BYTES = 400 << 10
"""Room for each source that is kept, well above what one has on average."""
_DISK_INODES = 24_000
_LOOK_S_MAX = 1.0
_SETTLE_S = 0.012
"""How long etcd and sshd may take to carry out what a node sent before it was frozen."""


class Field:
    """All parties. Each fault takes the party that it acts on by `claim`, so that two never act on one."""

    def __init__(
        self,
        folder: Path,
        flow: Flow,
        *,
        nodes: int = 2,
        parallel_files: int = 6,
        kept: int = 0,
        etcd_members: int = 1,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """`kept`: how many sources stay where they are. `fields`: of the transfer, besides those of the flow."""
        self.folder = folder
        self._fields = FLOWS[flow] | dict(fields or {})
        self._flow = flow
        self._parallel_files = parallel_files
        self._kept = kept
        self.cluster = Cluster(folder, etcd_members=etcd_members)
        assert self.cluster.etcd is not None
        self.etcd = self.cluster.etcd
        ports = self.etcd.ports if isinstance(self.etcd, EtcdCluster) else (self.etcd.port,)
        self.names = tuple("abcdef"[:nodes])
        self.partner_link = Link(self.cluster.partner.port)
        self.etcd_links = {name: tuple(Link(port) for port in ports) for name in self.names}
        """The roads of each node, one to each member."""
        self.disks: dict[str, Path] = {}
        """Small file systems, by `source` and `partner`; empty where this user may not mount."""
        self.away = self.cluster.partner.home / "away"
        self._notes = Notes(folder / "took.jsonl")
        where = (self.cluster.inbox, self.away, self._notes.path)
        command: list[str | Path] = [sys.executable, "-m", "tests.faults.consumer", *where]
        command += ["beside"] if flow == "batch" else []
        self.consumer = ServerProcess(command, folder / "consumer.log", clean_environment(PYTHONPATH=os.getcwd()))
        self._claims: dict[str, asyncio.Lock] = {}
        self._client: EtcdClient | None = None

    # ---- life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Field]:
        """Run everything, the transfer too, for as long as the block lasts."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self._disk("source", self.cluster.outgoing, _DISK_BYTES + self._kept * _KEPT_BYTES))
            stack.enter_context(self._disk("partner", self.cluster.partner.home, _DISK_BYTES))
            for path in (self.cluster.inbox, self.away):
                path.mkdir(parents=True, exist_ok=True)
            for link in self.roads():
                await stack.enter_async_context(link.running())
            for name, links in self.etcd_links.items():
                self.cluster.node(name, etcd=",".join(f"127.0.0.1:{link.port}" for link in links))
            stack.callback(self._end)
            self.consumer.launch()
            await self.cluster.start(*self.names)
            await eventually(lambda: any(each.ready for each in self.took()), 60, what="the consumer watches")
            version = await self.cluster.apply(self._document())
            await self.cluster.whole(*self.names, version=version)
            self._client = await stack.enter_async_context(EtcdClient(self.etcd.endpoint.split(",")))
            yield self

    def _end(self) -> None:
        self.consumer.kill()
        self.cluster.kill()

    @contextlib.contextmanager
    def _disk(self, name: str, path: Path, size_bytes: int) -> Iterator[None]:
        """Mount a small file system of its own at `path`, where that is allowed."""
        path.mkdir(parents=True, exist_ok=True)
        options = f"size={size_bytes},nr_inodes={_DISK_INODES},mode=755"
        command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", options, "mft-faults", path]
        if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
            yield
            return
        self.disks[name] = path
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", path], check=True)

    def _document(self) -> Document:
        """Give the base config with the roads in place, and without what has nothing to do with outbound transfers."""
        document: dict[str, Any] = self.cluster.base()
        document |= {"services": {}, "nodes": {}, "accounts": {}}
        document["locations"]["partner"] |= {
            "port": self.partner_link.port,
            "connect_timeout_s": 3.0,
            "call_timeout_s": 4.0,
        }
        document["transfers"][TRANSFER] |= {"parallel_files": self._parallel_files, **self._fields}
        return document

    @asynccontextmanager
    async def claim(self, party: str) -> AsyncIterator[None]:
        """Be the only one who acts on this party."""
        async with self._claims.setdefault(party, asyncio.Lock()):
            yield

    async def heal(self) -> None:
        """End every fault, so that only the product's own recovery is left to wait for."""
        for link in self.roads():
            link.open()
        for name in self.names:
            self.release(name)
        for path in self.disks.values():
            empty_disk(path)
        members = self.etcd.members if isinstance(self.etcd, EtcdCluster) else (self.etcd,)
        for each in (*members, self.cluster.partner, *self.cluster.nodes.values()):
            if each.running():
                each.resume()
        if not self.etcd.running():
            await self.etcd.start()
        if not self.cluster.partner.running():
            await self.cluster.partner.start()
        for node in self.cluster.nodes.values():
            if not node.running():
                node.launch()

    # ---- what is so

    def roads(self) -> tuple[Link, ...]:
        """All roads that can be cut."""
        return (self.partner_link, *(link for links in self.etcd_links.values() for link in links))

    def took(self) -> Sequence[Took]:
        """Return what the consumer has noted so far."""
        return self._notes.read()

    def noted(self) -> int:
        """Count the deliveries that stand as done in the record files of all nodes."""
        entries = [entry for node in self.cluster.nodes.values() for entry in read_records(node.data / "records")]
        return len({entry.delivery for entry in entries if entry.record is not None and entry.record.state == "done"})

    def arrived(self, sha256: str) -> bool:
        """Say whether the consumer has taken this content."""
        self._notes.read()
        return sha256 in self._notes.contents

    async def look(self) -> Moment | None:
        """Look at what is in flight; None if etcd does not answer at once, for somebody may be frozen meanwhile."""
        assert self._client is not None
        cluster = self.cluster
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S_MAX):
                return await look(self._client.kv, cluster.keys, TRANSFER, cluster.outgoing, cluster.inbox)
        return None

    async def left(self) -> Left:
        """List what is not yet delivered, or not cleared away."""
        assert self._client is not None
        prefix = self.cluster.keys.journal(TRANSFER)
        records = [kv.key.removeprefix(prefix) for kv in (await self._client.kv.get_prefix(prefix)).kvs]
        keeps = self._flow == "copy"
        # Not by `rglob`, which fails if a folder vanishes while it looks.
        walked = os.walk(self.cluster.outgoing)
        found = (Path(folder, name) for folder, folders, files in walked for name in (*folders, *files))
        outgoing = [path for path in found if path.name != ".mft" and not (keeps and path.name.startswith("report-"))]
        return Left(
            inbox=tuple(sorted(os.listdir(self.cluster.inbox))),
            outgoing=tuple(sorted(str(path.relative_to(self.cluster.outgoing)) for path in outgoing)),
            records=tuple(records),
        )

    def missing(self, produced: Sequence[Produced]) -> list[str]:
        """Name the kept sources that are not there any more, or not as they were written last."""
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.cluster.outgoing)}
        last = {each.name: each.size_bytes for each in produced}
        return [name for name, size_bytes in last.items() if sizes.get(name) != size_bytes]

    # ---- freezing

    async def freeze(self, node: Program, aim: State | None) -> Moment | None:
        """Freeze all processes of a node, in the order that makes the aim likely, and look. Thawed by `thaw`."""
        workers, agent = node.workers("outbound"), node.agent()
        first = workers if aim in WORKER_FIRST else [agent] if agent else []
        send(first, signal.SIGSTOP)
        if first:
            await asyncio.sleep(_SETTLE_S)
        send(node.family(), signal.SIGSTOP)
        await asyncio.sleep(_SETTLE_S)
        return await self.look()

    def slow_answers(self, name: str, aim: State, delay_s: float) -> None:
        """Have answers that end a state take so long to the node that it can be seen. Undone by `release`."""
        for road in [self.partner_link] if aim is State.RENAMED else self.etcd_links[name]:
            road.answers.delay_s = delay_s

    def hold(self, name: str, aim: State) -> None:
        """Hold the node's roads to etcd, so that deliveries come no further than `aim`. Undone by `release`."""
        for road in self.etcd_links[name]:
            (road.answers if aim in HELD_BY_ANSWERS else road.requests).hold()

    def release(self, name: str, *, is_cut: bool = False) -> None:
        """Let go of what was held or slowed: it arrives late; with `is_cut`, what was held never does."""
        self.partner_link.answers.release()
        for road in self.etcd_links[name]:
            if is_cut and (road.requests.is_held or road.answers.is_held):
                road.cut()
            road.requests.release()
            road.answers.release()

    @staticmethod
    def thaw(node: Program, but: Collection[int] = ()) -> None:
        """Let all processes of a node go on, but these."""
        if node.running():
            send([pid for pid in node.family() if pid not in but], signal.SIGCONT)


def send(pids: Collection[int], number: signal.Signals) -> None:
    """Signal processes, of which some may have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def living(pids: Collection[int]) -> list[int]:
    """Return those of the processes that run."""
    return [pid for pid in pids if is_alive(pid)]


def fill_disk(path: Path) -> None:
    """Fill a small file system, its bytes and its inodes."""
    ballast = path / ".ballast"
    ballast.mkdir(exist_ok=True)
    room = os.statvfs(path)
    with contextlib.suppress(OSError), (ballast / "bytes").open("wb", buffering=0) as file:
        # Allocated, not written: what is left of a page or two is then written.
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)
    with contextlib.suppress(OSError), (ballast / "rest").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    with contextlib.suppress(OSError):
        for number in range(_DISK_INODES):
            (ballast / str(number)).touch()


def empty_disk(path: Path) -> None:
    """Undo `fill_disk`."""
    ballast = path / ".ballast"
    if ballast.exists():
        for entry in ballast.iterdir():
            entry.unlink()
        ballast.rmdir()
