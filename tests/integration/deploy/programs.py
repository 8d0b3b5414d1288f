"""The programs as users start them, each with a log and an end; nothing of the caller's environment reaches them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.rig.binaries import REPOSITORY, find_etcd
from tests.rig.processes import ServerProcess
from tests.rig.waiting import eventually, free_port

START_LIMIT_S = 80.0
LEASE_TTL_S = 5


def launcher(program: str) -> list[str]:
    """Return the command that runs a program of this checkout."""
    return [sys.executable, str(REPOSITORY / "cmd" / f"{program}.py")]


def environment(**more: str) -> dict[str, str]:
    """Return what programs are started with: no setting of ours but those given, and the etcd that tests use."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MFT_")}
    return {**kept, "MFT_ETCD": str(find_etcd("etcd")), **more}


class Programs:
    """A controller with an embedded etcd, and nodes, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etcd_port, self.admin_port = free_port(), free_port()
        self.running: dict[str, ServerProcess] = {}

    async def start_controller(self) -> None:
        """Start the controller and wait until administrators are let in."""
        self._start(
            "controller",
            *launcher("mft-controller"),
            *("--name", "controller", "--data", str(self.folder / "controller"), "--embedded-etcd"),
            *("--embedded-etcd-listen", f"127.0.0.1:{self.etcd_port}", "--listen", f"127.0.0.1:{self.admin_port}"),
            *("--link-listen", "127.0.0.1:0"),
            *self._common(),
        )
        with self.running["controller"].explained():
            await eventually(self._answers, START_LIMIT_S, what="the controller answers", every_s=0.3)

    def start_node(self, name: str) -> None:
        """Start a node; it joins by itself."""
        data = str(self.folder / name)
        etcd = f"127.0.0.1:{self.etcd_port}"
        self._start(name, *launcher("mft-node"), "--name", name, "--data", data, "--etcd", etcd, *self._common())

    async def admin(self, *arguments: str, stdin: str = "", check: bool = True) -> Any:
        """Run `mft-admin … --output json` and return what it says."""
        process = await asyncio.create_subprocess_exec(
            *launcher("mft-admin"),
            *arguments,
            env=environment(
                MFT_ADMIN=f"127.0.0.1:{self.admin_port}",
                MFT_ADMIN_TOKEN_FILE=str(self.folder / "controller" / "admin.token"),
                MFT_OUTPUT="json",
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, errors = await process.communicate(stdin.encode())
        if process.returncode and check:
            raise AssertionError(f"mft-admin {arguments} ended with {process.returncode}: {errors.decode()}")
        return json.loads(out) if not process.returncode else None

    async def apply(self, config: Mapping[str, Any]) -> None:
        """Apply a config and wait until every instance uses it."""
        version = (await self.admin("config", "apply", "-", stdin=json.dumps(config)))["version"]

        async def in_use() -> bool:
            nodes = {node["name"]: node for node in await self.admin("nodes", "list")}
            return all(
                name in nodes and nodes[name]["version_applied"] == version and nodes[name]["state"] == "ready"
                for name in self.running
            )

        await eventually(in_use, START_LIMIT_S, what=f"version {version} is in use", every_s=0.3)

    def close(self) -> None:
        """End everything that runs."""
        for process in self.running.values():
            process.kill()

    async def _answers(self) -> bool:
        assert self.running["controller"].running(), "the controller has ended"
        return await self.admin("status", check=False) is not None

    def _common(self) -> list[str]:
        return ["--inbound-workers", "1", "--outbound-workers", "1", "--lease-ttl", str(LEASE_TTL_S)]

    def _start(self, name: str, *command: str) -> None:
        self.running[name] = ServerProcess(command, self.folder / f"{name}.log", environment())
        self.running[name].launch()


@asynccontextmanager
async def run_programs(folder: Path, *nodes: str) -> AsyncIterator[Programs]:
    """Run a controller and these nodes for as long as the block lasts."""
    programs = Programs(folder)
    try:
        await programs.start_controller()
        for node in nodes:
            programs.start_node(node)
        yield programs
    except BaseException as error:
        for name, process in programs.running.items():
            error.add_note(f"--- {name}:\n{process.tail(20)}")
        raise
    finally:
        programs.close()
