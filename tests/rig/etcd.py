"""A real etcd member on free ports of 127.0.0.1 with its data in a folder of the test."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mft.etcd.endpoints import CallTimes
from tests.rig.binaries import EtcdVersion, find_etcd
from tests.rig.processes import ServerProcess
from tests.rig.waiting import eventually, free_port

READY_LIMIT_S = 60.0
CALL_LIMIT_S = 40.0
PATIENT = CallTimes(call_s=60.0, attempt_s=20.0, connect_s=20.0)
"""For clients of tests that are not about limits: a busy machine is no outage."""


@functools.cache
def _has_no_fsync(program: Path) -> bool:
    """Say whether this etcd can do without fsync, which makes tests fast; 3.4.23 cannot."""
    shown = subprocess.run([program, "--help"], capture_output=True, check=False, timeout=CALL_LIMIT_S)
    return b"unsafe-no-fsync" in shown.stdout + shown.stderr


class Etcd(ServerProcess):
    """One etcd member. `kill`, `pause` and `restart` are its faults; its data stay."""

    def __init__(self, folder: Path, version: EtcdVersion = "default") -> None:
        self.version = version
        self.port = free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        """What a client is given: `host:port`."""
        peer = self._peer = f"http://127.0.0.1:{free_port()}"
        program = find_etcd("etcd", version)
        folder.mkdir(parents=True, exist_ok=True)
        self._data = folder / "data"
        command: list[str | Path] = [
            program,
            *("--name", "test", "--data-dir", self._data),
            *("--listen-client-urls", f"http://{self.endpoint}", "--advertise-client-urls", f"http://{self.endpoint}"),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"test={peer}"),
            *("--log-level", "warn"),
            *(["--unsafe-no-fsync"] if _has_no_fsync(program) else []),
        ]
        # Settings for etcd in the developer's shell are not for this member.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
        super().__init__(command, folder / "etcd.log", environment)

    async def start(self) -> None:
        """Start it and wait until it answers reads and writes."""
        self.launch()
        with self.explained():
            await eventually(self._is_ready, READY_LIMIT_S, what="etcd answers", every_s=0.05)

    async def restart(self) -> None:
        """Kill it if it runs and start it again on the same ports with the same data."""
        self.kill()
        await self.start()

    async def restore(self, backup: Path, *, bump_revision: int = 0) -> None:
        """Kill it and start it again with what was saved by `ctl("snapshot", "save", …)`, as operators do.

        With `bump_revision` its revisions go on above all that were ever used, so that they do not tell.
        """
        self.kill()
        shutil.rmtree(self._data)
        bump = ("--bump-revision", str(bump_revision), "--mark-compacted") if bump_revision else ()
        await self.ctl(
            *("snapshot", "restore", str(backup), "--data-dir", str(self._data), "--name", "test"),
            *("--initial-cluster", f"test={self._peer}", "--initial-advertise-peer-urls", self._peer, *bump),
        )
        await self.start()

    async def ctl(self, *arguments: str, limit_s: float = CALL_LIMIT_S) -> str:
        """Run `etcdctl` with these arguments and return what it prints: the independent client to check against."""
        program = find_etcd("etcdctl", self.version)
        process = await asyncio.create_subprocess_exec(
            program,
            f"--endpoints={self.endpoint}",
            *arguments,
            env=os.environ | {"ETCDCTL_API": "3"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(limit_s):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, f"etcdctl {' '.join(arguments)}: {errors.decode()}{output.decode()}"
        return output.decode()

    async def _is_ready(self) -> bool:
        assert self.running(), "etcd has ended"
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except (OSError, TimeoutError):
            return False
        try:
            writer.write(b"GET /health HTTP/1.0\r\nHost: etcd\r\n\r\n")
            async with asyncio.timeout(5):
                answer = await reader.read()
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
        body = answer.partition(b"\r\n\r\n")[2]
        return bool(body) and json.loads(body).get("health") == "true"


@asynccontextmanager
async def run_etcd(folder: Path, version: EtcdVersion = "default") -> AsyncIterator[Etcd]:
    """Run an etcd member in `folder` for as long as the block lasts."""
    etcd = Etcd(folder, version)
    try:
        await etcd.start()
        with etcd.explained():
            yield etcd
    finally:
        etcd.kill()
