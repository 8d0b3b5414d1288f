"""Processes that must not outlive their parents, and a guardian that ends what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.processes import is_alive
from tests.rig.waiting import eventually

STUBBORN = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
with open(sys.argv[1], "a") as file:
    print(os.getpid(), file=file)
time.sleep(600)
"""

GUARDIAN = """
import ctypes, signal, subprocess, sys, time
from pathlib import Path
from mft.agent import guardian
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
child = subprocess.Popen([sys.executable, "-c", Path(sys.argv[1]).read_text(), sys.argv[2]])
while not Path(sys.argv[2]).exists() or len(guardian._children()) < 2:
    time.sleep(0.01)
print(len(guardian._children()), flush=True)
print(guardian._end_descendants(), guardian._children(), flush=True)
"""

PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "import sys, time; from mft.process import die_with_parent; die_with_parent(int(sys.argv[1]));"
    "print('ready', flush=True); time.sleep(600)", sys.argv[1] if len(sys.argv) > 1 else str(os.getpid())],
    stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode().strip(), child.poll(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process whose child calls `die_with_parent`."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_a_stubborn_family_is_ended(tmp_path: Path) -> None:
    """Goal: the guardian ends every descendant, whatever it ignores and however it hides.

    Method: a child that ignores all signals that can be ignored, and a grandchild in a session of its own, orphaned.
    """
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", GUARDIAN, str(script), str(tmp_path / "pid")), stdout=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert output.decode().splitlines() == ["2", "True []"]
    assert not is_alive(int((tmp_path / "pid").read_text().split()[0]))


async def test_a_child_dies_with_its_parent(parent: subprocess.Popen[bytes]) -> None:
    """Goal: no worker outlives a killed agent. Method: SIGKILL the parent."""
    assert parent.stdout is not None
    pid, said, _ = (await asyncio.to_thread(parent.stdout.readline)).decode().split()
    assert said == "ready"
    os.kill(parent.pid, signal.SIGKILL)
    await eventually(lambda: not is_alive(int(pid)), what="the child ended")


async def test_a_parent_that_died_before_is_noticed() -> None:
    """Goal: a parent that died before its child could ask is no parent. Method: name another process as the parent."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, "1", stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        words = (await process.stdout.readline()).decode().split()
        assert "ready" not in words
    finally:
        process.kill()
        await process.communicate()
