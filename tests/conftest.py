"""Fixtures for all tests: the shared etcd, a fresh cluster name, and the check that a test leaves nothing behind."""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.rig.binaries import SERVERS
from tests.rig.etcd import Etcd, run_etcd
from tests.rig.leaks import adopt_orphans, processes_left, tasks_left
from tests.rig.processes import descendants
from tests.rig.sshd import Sshd, run_sshd


def pytest_configure() -> None:
    """Before anything starts: processes orphaned by a test come to us, where the leak check sees them."""
    adopt_orphans()
    # A shell that runs us in the background has it ignored, and with us all programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # On a busy machine one example may take any time.
    hypothesis.settings.register_profile("any machine", deadline=None)
    hypothesis.settings.load_profile("any machine")
    # A bare machine has no OpenSSH client: then the fetched one is used, as by users of the demo.
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), str(SERVERS / "bin")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch the tasks of every async test; first in the list, so that it looks after all other fixtures have ended."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(inspect.unwrap(item.obj)):
            item.fixturenames.insert(0, "_no_task_left")


@pytest.fixture(scope="session")
def _scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the tests and the programs that they start a folder for temporary files that nobody else writes to."""
    folder = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _nothing_left(_scratch: Path) -> Iterator[None]:
    """Fail a test that leaves a process or a temporary file behind."""
    processes = set(descendants(os.getpid()))
    files = set(_scratch.iterdir())
    yield
    if left := processes_left(processes):
        pytest.fail(f"processes left behind: {left}", pytrace=False)
    if forgotten := set(_scratch.iterdir()) - files:
        pytest.fail(f"temporary files left behind: {sorted(map(str, forgotten))}", pytrace=False)


@pytest.fixture
async def _no_task_left() -> AsyncIterator[None]:
    """Fail an async test that leaves a task behind."""
    yield
    if left := await tasks_left():
        pytest.fail(f"tasks left behind: {left}", pytrace=False)


@pytest.fixture(scope="session")
def etcd(_scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """The etcd that all tests share: use it with `prefix`; never kill or freeze it, `run_etcd` gives you your own."""
    folder = tmp_path_factory.mktemp("etcd")
    member = Etcd(folder)
    try:
        asyncio.run(member.start())
        yield member
    finally:
        member.kill()


@pytest.fixture(params=["3.4", "newest"])
async def each_etcd(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Etcd]:
    """An etcd of the test's own, in Debian 12's version and in the newest; it may be killed, frozen and restarted."""
    async with run_etcd(tmp_path / "etcd", request.param) as member:
        yield member


@pytest.fixture
def prefix() -> str:
    """A cluster name that no other test uses, so that tests share one etcd without meeting."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
async def sshd(tmp_path: Path) -> AsyncIterator[Sshd]:
    """An OpenSSH server of the test's own."""
    async with run_sshd(tmp_path / "sshd") as server:
        yield server
