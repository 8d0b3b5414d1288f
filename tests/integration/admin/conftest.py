"""A controller's admin service in the test's own process, and `mft-admin` as its users start it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mft.controller.home import Home
from mft.controller.management import Management
from mft.controller.rpc import Listen, serve
from tests.integration.config.controllers import keys_in, management
from tests.rig.etcd import Etcd

CALL_LIMIT_S = 80.0


class Controller(NamedTuple):
    """A controller that answers."""

    management: Management
    home: Home
    address: str


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Admin = Callable[..., Awaitable[Ended]]


@pytest.fixture
async def controller(etcd: Etcd, prefix: str, tmp_path: Path) -> AsyncIterator[Controller]:
    """Run a controller's management and its admin service on a free port."""
    async with management(etcd, tmp_path / "c", prefix) as parts:
        home = keys_in(tmp_path / "c", prefix)
        await parts.custody.check()
        await parts.transfers.deliveries.open()
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as tasks:
            listen = Listen(port=0)
            work = serve(parts.operations, home.token, listen, port.set_result, parts.transfers)
            serving = tasks.create_task(work, name="rpc")
            yield Controller(parts, home, f"127.0.0.1:{await port}")
            serving.cancel()
        await parts.transfers.deliveries.close()


@pytest.fixture
def admin(controller: Controller) -> Admin:
    """Run `mft-admin` with arguments, given the address and the token by environment."""

    async def run(*arguments: str | Path, token: Path | None = None, stdin: str = "") -> Ended:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "mft-admin",
            *arguments,
            env={
                "PATH": "/usr/bin:/bin",
                "USER": "ann",
                "MFT_ADMIN": controller.address,
                "MFT_ADMIN_TOKEN_FILE": str(token or controller.home.folder / "admin.token"),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                out, err = await process.communicate(stdin.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert "Traceback" not in out.decode() + err.decode()
        return Ended(process.returncode or 0, out.decode(), err.decode())

    return run
