"""Three etcd members as one cluster: one can be away, and the leading one can change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.rig.binaries import EtcdVersion
from tests.rig.etcd import Etcd

STATUS_LIMIT_S = 5.0


class Member(Etcd):
    """One etcd with some options of the rig's command changed or added."""

    def option(self, name: str, value: str | None = None) -> str:
        """Read an option of the command, or set it first."""
        if name not in self.command:
            self.command += [name, ""]
        index = self.command.index(name) + 1
        if value is not None:
            self.command[index] = value
        return self.command[index]


class EtcdCluster:
    """Members that elect one of themselves. To be used like one `Etcd`; then every fault is one of all members."""

    def __init__(
        self, folder: Path, size: int = 3, version: EtcdVersion = "default", options: Sequence[tuple[str, str]] = ()
    ) -> None:
        """`options` are given to each member besides the rig's own."""
        self.members = [Member(folder / f"m{number}", version) for number in range(size)]
        self.endpoint = ",".join(member.endpoint for member in self.members)
        """What a program is given: `host:port,host:port,…`."""
        peers = {f"m{number}": member.option("--listen-peer-urls") for number, member in enumerate(self.members)}
        for name, member in zip(peers, self.members, strict=True):
            member.option("--name", name)
            member.option("--initial-cluster", ",".join(f"{name}={url}" for name, url in peers.items()))
            for option, value in options:
                member.option(option, value)

    @property
    def ports(self) -> tuple[int, ...]:
        """Where clients reach the members."""
        return tuple(member.port for member in self.members)

    def running(self) -> bool:
        """Say whether all members run."""
        return all(member.running() for member in self.members)

    async def start(self) -> None:
        """Start those that do not run, and wait until each answers reads and writes."""
        async with asyncio.TaskGroup() as tasks:
            for member in self.members:
                if not member.running():
                    tasks.create_task(member.start(), name=f"start:{member.endpoint}")

    def kill(self) -> None:
        """SIGKILL all."""
        for member in self.members:
            member.kill()

    def pause(self) -> None:
        """Freeze all."""
        for member in self.members:
            if member.running():
                member.pause()

    def resume(self) -> None:
        """Let all go on."""
        for member in self.members:
            if member.running():
                member.resume()

    async def leader(self) -> Member | None:
        """Ask the members in turn which one leads; None if none of them knows."""
        ids: dict[int, Member] = {}
        leader_id = 0
        for member in self.members:
            try:
                shown = await member.ctl("endpoint", "status", "-w", "json", limit_s=STATUS_LIMIT_S)
            except (AssertionError, TimeoutError):
                continue  # It is away.
            status = json.loads(shown)[0]["Status"]
            ids[status["header"]["member_id"]] = member
            leader_id = status.get("leader", 0) or leader_id
        return ids.get(leader_id)

    async def move_leader(self) -> bool:
        """Have the leading member hand over to another; say whether it did."""
        leader = await self.leader()
        if leader is None:
            return False
        for member in self.members:
            if member is leader:
                continue
            try:
                shown = await member.ctl("endpoint", "status", "-w", "json", limit_s=STATUS_LIMIT_S)
                other = json.loads(shown)[0]["Status"]["header"]["member_id"]
                await leader.ctl("move-leader", f"{other:x}", limit_s=STATUS_LIMIT_S)
            except (AssertionError, TimeoutError):
                continue
            return True
        return False


@asynccontextmanager
async def run_etcd_cluster(
    folder: Path, size: int = 3, options: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[EtcdCluster]:
    """Run members as one cluster for as long as the block lasts."""
    cluster = EtcdCluster(folder, size, options=options)
    try:
        await cluster.start()
        yield cluster
    finally:
        cluster.kill()
