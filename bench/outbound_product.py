"""The whole product path for a benchmark: etcd, a controller and a node with one outbound worker, as users run them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.rig.cluster import Cluster
from tests.rig.etcd import Etcd
from tests.rig.processes import descendants
from tests.rig.waiting import eventually

_LIMIT_S = 3600.0 * 3
_TICKS = os.sysconf("SC_CLK_TCK")
_CALM_S = 3.0
_LOOKED_AT = 100


class Product:
    """A cluster with one transfer to the partner and one from it. Files appear in their source folders all at once.

    All lies in `folder`, but what etcd stores in `etcd_folder`, with etcd's fsync on, which tests leave off: so the
    files may lie on a RAM disk, for no disk to be measured, and the journal still pays what it costs.
    """

    def __init__(self, folder: Path, etcd_folder: Path, parallel_files: int) -> None:
        (folder / "etcd").symlink_to(etcd_folder)
        self.cluster = Cluster(folder)
        etcd = self.cluster.etcd
        assert isinstance(etcd, Etcd)
        etcd.command = [part for part in etcd.command if part != "--unsafe-no-fsync"]
        self._endpoint = etcd.endpoint
        self._parallel_files = parallel_files
        self.sshd = self.cluster.partner
        self.inbox = self.cluster.inbox
        self.outbox = self.sshd.home / "outbox"
        self.fetched = self.cluster.home / "fetched"
        self._sources = self.cluster.home / "sources"
        self._current = self._sources / "current"
        self.worker_pid = 0

    async def begin(self) -> None:
        """Start everything and wait until the node leads and has connected to the partner."""
        for path in (self._sources / "empty", self.outbox, self.fetched):
            path.mkdir(parents=True)
        self._current.symlink_to("empty")
        await self.cluster.start("a")
        await self.cluster.apply(self._document())
        await self.cluster.whole("a")
        self.worker_pid = (await eventually(lambda: self.cluster.nodes["a"].workers("outbound"), 40, what="a worker"))[
            0
        ]
        for path in (self._sources / "empty" / "first", self.outbox / "first"):
            path.write_bytes(b"first")
        arrived = [self.inbox / "first", self.fetched / "first"]
        with self.cluster.nodes["a"].explained():
            await eventually(lambda: all(path.exists() for path in arrived), 60, what="the first files")
        for path in arrived:
            path.unlink()
        await self._records_gone()

    def folder_for(self, name: str) -> Path:
        """Make a folder in which the files of one round are prepared, out of the transfer's sight."""
        folder = self._sources / name
        folder.mkdir()
        return folder

    async def send(self, prepared: Path, count: int) -> float:
        """Let the prepared files appear; return the seconds until all are delivered and the journal is empty."""
        # To look at all names each time would weigh on what is measured: so first at some.
        names = sorted(os.listdir(prepared))
        some = [self.inbox / name for name in names[:: max(1, count // _LOOKED_AT)]]
        began = time.monotonic()
        self._show(prepared)

        def is_all() -> bool:
            return all(path.exists() for path in some) and sorted(os.listdir(self.inbox)) == names

        await eventually(is_all, _LIMIT_S, what="all files", every_s=0.01)
        await self._records_gone()
        took = time.monotonic() - began
        self._show(self._sources / "empty")
        return took

    async def work_off(self, prepared: Path, progress: Callable[[], None]) -> None:
        """Let the prepared files appear and call `progress` often until the folder is empty and all is forgotten."""
        self._show(prepared)

        def is_empty() -> bool:
            progress()
            with os.scandir(prepared) as entries:
                return all(entry.name.startswith(".") for entry in entries)

        await eventually(is_empty, _LIMIT_S, what="an empty folder", every_s=0.25)
        await self._records_gone()
        self._show(self._sources / "empty")

    async def fetch(self, file: Path) -> float:
        """Let a file appear at the partner; return the seconds until it is here and the journal is empty.

        A link of it, as going up: the others leave their source alone, and to free a large file's memory takes long.
        """
        began = time.monotonic()
        os.link(file, self.outbox / file.name)
        await eventually((self.fetched / file.name).exists, _LIMIT_S, what="the file", every_s=0.01)
        await self._records_gone()
        return time.monotonic() - began

    async def calm(self) -> None:
        """Wait a moment, so that what came before does not weigh on what comes."""
        await asyncio.sleep(_CALM_S)

    def clear(self) -> None:
        """Remove what was delivered."""
        for folder in (self.inbox, self.fetched):
            for entry in os.listdir(folder):
                (folder / entry).unlink()

    def discard(self, prepared: Path) -> None:
        """Remove a folder of a round that is over."""
        shutil.rmtree(prepared)

    def cpu_s(self) -> dict[str, float]:
        """Return role → seconds of processor time so far."""
        node, etcd = self.cluster.nodes["a"], self.cluster.etcd
        assert isinstance(etcd, Etcd)
        return {
            "worker": _cpu_s([self.worker_pid]),
            "agent": _cpu_s([node.agent()]),
            "etcd": _cpu_s([etcd.pid]),
            "controller": _cpu_s([self.cluster.controller.pid, *descendants(self.cluster.controller.pid)]),
            "sshd": _cpu_s([self.sshd.pid, *descendants(self.sshd.pid)]),
        }

    def etcd_counts(self) -> dict[str, float]:
        """Return etcd's own counters of what was written."""
        with urllib.request.urlopen(f"http://{self._endpoint}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        wanted = {
            "transactions": "etcd_mvcc_txn_total ",
            "puts": "etcd_mvcc_put_total ",
            "deletes": "etcd_mvcc_delete_total ",
            "proposals": "etcd_server_proposals_committed_total ",
            "fsyncs": "etcd_disk_wal_fsync_duration_seconds_count ",
        }
        return {
            name: next((float(line.split()[1]) for line in lines if line.startswith(metric)), 0.0)
            for name, metric in wanted.items()
        }

    def memory_mib(self, field: str = "VmRSS") -> float:
        """Return the outbound worker's resident memory; `VmHWM` is the most since `forget_memory`."""
        text = Path(f"/proc/{self.worker_pid}/status").read_text("utf-8")
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field}:")) / 1024

    def forget_memory(self) -> None:
        """Begin anew to look for the most memory. Source: proc(5), clear_refs."""
        Path(f"/proc/{self.worker_pid}/clear_refs").write_text("5", "ascii")

    def _show(self, folder: Path) -> None:
        """Make `folder` the transfer's source folder, from one moment to the next."""
        new = self._sources / "new"
        new.symlink_to(folder.name)
        new.rename(self._current)

    async def _records_gone(self) -> None:
        async with self.cluster.eye() as eye:

            async def gone() -> bool:
                return not await eye.records("out") and not await eye.records("in")

            await eventually(gone, 60, what="the end of all deliveries", every_s=0.005)

    def _document(self) -> dict[str, object]:
        document = self.cluster.base()
        document["locations"]["shared"]["root"] = "/"
        out = document["transfers"]["out"]
        out |= {"source_path": str(self._current), "poll_interval_s": 0.1, "parallel_files": self._parallel_files}
        document["transfers"]["in"] = {
            **out,
            "source_location": "partner",
            "source_path": str(self.outbox),
            "destination_location": "shared",
            "destination_path": str(self.fetched),
        }
        return document


def _cpu_s(pids: list[int]) -> float:
    """Add up the processor time of these processes, with that of children that have ended. Source: proc(5)."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15]) / _TICKS
    return total
