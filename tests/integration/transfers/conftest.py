"""A transfer between real places: folders, and OpenSSH's server, at either end."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mft.aio import boottime
from mft.model.delivery import Record, Term, temp_name
from mft.model.locations import LocalLocationSpec, LocationSpec, SftpLocationSpec
from mft.model.transfer_parts import RetrySpec
from mft.model.transfers import TransferSpec
from mft.transfers.delivery import Permit, RunContext
from mft.transfers.located import LocatedRemote
from mft.transfers.memory import Memory
from mft.transfers.remotes.base import Remote
from mft.transfers.remotes.pool import RemotePool
from mft.transfers.remotes.visits import Visits
from mft.transfers.run import Tally, run_pass
from mft.transfers.taking import Stability, new_delivery
from mft.worker.main import tell_lost_calls
from tests.rig.journal import MemoryJournal
from tests.rig.sshd import Sshd
from tests.rig.sshd import running as running_server


def sftp_location(sshd: Sshd, **changes: Any) -> SftpLocationSpec:
    """Describe the test's OpenSSH server as a partner."""
    fields: dict[str, Any] = {
        "address": sshd.host,
        "port": sshd.port,
        "username": sshd.user,
        "private_key": sshd.key.read_text("utf-8"),
        "host_keys": (sshd.host_key,),
        "connect_timeout_s": 30.0,
        "call_timeout_s": 30.0,
    }
    return SftpLocationSpec(**(fields | changes))


from_server = pytest.mark.parametrize("bench", ["local", "sftp", "pull"], indirect=True)
"""For tests of what a source at a server may do in another way than a folder: `pull` takes from there into a folder."""
each_way = pytest.mark.parametrize("bench", ["local", "sftp", "pull", "relay"], indirect=True)
"""The same and `relay`, which takes from a server and delivers to a server."""


class Bench:
    """One transfer that can be run in any term, from any state."""

    def __init__(self, source: Path, inbox: Path, location: LocationSpec, pool: RemotePool) -> None:
        self.source = source
        self.source_location: LocationSpec = LocalLocationSpec(root=str(source))
        self.inbox = inbox
        self.location = location
        self.pool = pool
        self.journal = MemoryJournal()
        self.events: list[tuple[int, Mapping[str, Any]]] = []
        self.spec = TransferSpec(
            source_location="source",
            source_path="out",
            destination_location="partner",
            destination_path=str(inbox),
            stable_interval_s=0,
            retry=RetrySpec(first_s=1e-6, most_s=1e-6),
        )
        self.permit = Permit(boottime() + 600)
        self.transfer = "t"
        self._runs = itertools.count(1)
        self._delivered_at = itertools.count(1_700_000_000)
        self.stability = Stability()
        self.memory = Memory()
        self.threads: Visits | None = None
        self.transfers = frozenset({self.transfer})

    def take_from(self, server: Sshd) -> None:
        """Have the sources stand at a server, in its home, which is emptied."""
        shutil.rmtree(server.home)
        self.source, self.source_location = server.home, sftp_location(server)
        self.out.mkdir(parents=True)

    @property
    def out(self) -> Path:
        """The folder of the sources."""
        return self.source / "out"

    async def context(self, term: int = 7) -> RunContext:
        """Make what the deliveries of a run in this term share."""
        return RunContext(
            transfer=self.transfer,
            spec=self.spec,
            source=LocatedRemote(await self.pool.get("source", self.source_location), "source", "source"),
            source_spec=self.source_location,
            destination=LocatedRemote(await self.remote(), "partner", "destination"),
            destination_spec=self.location,
            term=Term("life", term),
            run=next(self._runs),
            node="n",
            permit=self.permit,
            journal=self.journal,
            emit=lambda event, fields: self.events.append((event, fields)),
            ledger=dict(self.journal.ledger),
            memory=self.memory,
            threads=self.threads,
            transfers=self.transfers,
        )

    async def remote(self) -> Remote:
        """Open the destination, or give the open one."""
        return await self.pool.get("partner", self.location)

    async def run(self, term: int = 7, *, sweep: bool = False) -> Tally:
        """Make one pass; it raises as the pass does."""
        tally = Tally()
        await run_pass(await self.context(term), dict(self.journal.records), self.stability, tally, sweep=sweep)
        return tally

    def give(self, name: str, content: bytes = b"content") -> None:
        """Put a source there."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def taken(self, name: str, content: bytes = b"content") -> str:
        """Put a source there that an earlier leader took; return the delivery."""
        delivery = new_delivery(self.transfer, next(self._delivered_at))
        folder = self.out / ".mft" / delivery
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content)
        return delivery

    def temp(self, delivery: str, content: bytes = b"content", *, term: int = 3, attempt: str = "1-0") -> str:
        """Put an earlier leader's finished upload at the partner; return its name."""
        name = temp_name(delivery, Term("life", term), attempt)
        (self.inbox / name).write_bytes(content)
        return name

    def intend(self, delivery: str, name: str, *names: str, size_bytes: int = 7) -> None:
        """Have an earlier leader's intent in the journal."""
        self.journal.records[delivery] = Record(state="intent", name=name, names=names, size_bytes=size_bytes)

    def arrived(self) -> dict[str, bytes]:
        """Return what stands at the partner under final names."""
        files = (path for path in self.inbox.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(self.inbox)): path.read_bytes() for path in files}

    def temps(self) -> list[str]:
        """Return the temp files at the partner."""
        return sorted(name for name in os.listdir(self.inbox) if name.startswith("."))

    def left(self) -> list[str]:
        """Return every file that still stands at the source."""
        return sorted(str(path.relative_to(self.out)) for path in self.out.rglob("*") if path.is_file())

    def check_settled(self) -> None:
        """Check that nothing is under way any more: no record, no taken source, no folder of one, no temp file."""
        assert self.journal.records == {}
        assert self.left() == []
        taken = self.out / ".mft"
        assert not taken.exists() or list(taken.iterdir()) == []
        assert self.temps() == []


@asynccontextmanager
async def bench_at(folder: Path, inbox: Path, location: LocationSpec) -> AsyncIterator[Bench]:
    """Give a bench whose remotes are closed at the end."""
    asyncio.get_running_loop().set_exception_handler(tell_lost_calls)  # As in the worker.
    source = folder / "source"
    (source / "out").mkdir(parents=True)
    pool, threads = RemotePool(), Visits(2, "hashing")
    try:
        bench = Bench(source, inbox, location, pool)
        bench.threads = threads
        yield bench
    finally:
        threads.close()
        await pool.close()


@pytest.fixture(scope="package")
def shared_sshd(_scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Run one OpenSSH server for all tests here that do it no harm."""
    with running_server(Sshd(tmp_path_factory.mktemp("sshd"))) as server:
        yield server


@pytest.fixture(params=["local", "sftp"])
async def bench(request: pytest.FixtureRequest, shared_sshd: Sshd, tmp_path: Path) -> AsyncIterator[Bench]:
    """Give a bench that delivers to a folder, and one that delivers to OpenSSH's server; both take from a folder."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    location: LocationSpec = LocalLocationSpec(root="/")
    if request.param in {"sftp", "relay"}:
        location = sftp_location(shared_sshd)
    async with bench_at(tmp_path, inbox, location) as bench:
        if request.param in {"pull", "relay"}:
            bench.take_from(shared_sshd)
        yield bench
