"""`--embedded-etcd`: one etcd server as a supervised child, its data in the controller's data folder. For one host."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from mft.aio import backoff
from mft.cli.binaries import find_etcd
from mft.errors import Invalid
from mft.etcd.servers import Fitness, judge_version
from mft.process import bound_command

_VERSION_S_MAX = 20.0
_STOP_S_MAX = 3.0
"""etcd waits for its clients' streams before it ends. Nodes keep theirs open, and its data is safe without waiting."""
_STEADY_S = 30.0
_COMPACTION_HOURS = "1"
_QUOTA_BYTES = 2 * 1024**3


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedEtcd:
    """One etcd for one host. High availability means three members apart from the controller."""

    def __init__(self, data: Path, client_address: str) -> None:
        self._binary = find_etcd()
        self._data = data / "etcd"
        self._client = client_address
        self._log = structlog.get_logger()

    async def check(self) -> None:
        """Look at the version of the binary.

        Raises:
            Invalid: it is one that may lose data, or no etcd.
        """
        process = await asyncio.create_subprocess_exec(
            self._binary, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(_VERSION_S_MAX):
            output, _ = await process.communicate()
        found = re.search(r"etcd Version: (\S+)", output.decode(errors="replace"))
        if found is None:
            raise Invalid(f"{self._binary} does not answer as an etcd server does")
        verdict = judge_version(found[1])
        if verdict.fitness is Fitness.REFUSED:
            raise Invalid(f"{self._binary}: {verdict.why}")
        if verdict.fitness is Fitness.OLD:
            self._log.warning("the embedded etcd is old", reason=verdict.why)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the server running for as long as the block does; it is started again when it dies."""
        await self.check()
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(self._keep(), name="embedded-etcd")
            try:
                yield
            finally:
                keeper.cancel()

    async def _keep(self) -> None:
        waits = backoff(0.2, 10.0)
        while True:
            began = asyncio.get_running_loop().time()
            status = await self._run_one()
            if asyncio.get_running_loop().time() - began > _STEADY_S:
                waits = backoff(0.2, 10.0)
            self._log.error("the embedded etcd ended, starting it again", status=status, log=str(self._log_file))
            await asyncio.sleep(next(waits))

    @property
    def _log_file(self) -> Path:
        return self._data.parent / "etcd.log"

    async def _run_one(self) -> int:
        with self._log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(*bound_command(*self._command()), stdout=log, stderr=log)
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(_STOP_S_MAX):
                        await process.wait()
                except TimeoutError:
                    process.kill()

    def _command(self) -> list[str]:
        client, peer = f"http://{self._client}", f"http://127.0.0.1:{free_port()}"
        options = {
            "name": "embedded",
            "data-dir": str(self._data),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"embedded={peer}",
            "auto-compaction-mode": "periodic",
            "auto-compaction-retention": _COMPACTION_HOURS,
            "quota-backend-bytes": str(_QUOTA_BYTES),
            "logger": "zap",
            "log-level": "warn",
        }
        return [self._binary, *(f"--{name}={value}" for name, value in options.items())]
