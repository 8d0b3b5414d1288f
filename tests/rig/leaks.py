"""What a test has left behind: processes, tasks, temporary files."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

from tests.rig.processes import descendants, signal_tree

PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 10.0
"""What was told to end just before the test's own end may take this long to do so."""


def adopt_orphans() -> None:
    """Let processes whose parents die become children of this one, so that none escapes. Source: prctl(2)."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode("utf-8", "replace").strip()


def processes_left(before: set[int], grace_s: float = GRACE_S) -> list[str]:
    """Return `pid command` of each living descendant that is not in `before`; then kill them, for the next test.

    What a server that is shared by several tests has started meanwhile is its own affair.
    """
    deadline = time.monotonic() + grace_s
    while (left := _new(before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    named = [f"{pid} {_command(pid)}" for pid in sorted(left)]
    for pid in left:
        signal_tree(pid, signal.SIGKILL)
    for pid in left:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)  # Adopted by then, even if its parent was another process.
    return named


def _new(before: set[int]) -> set[int]:
    left = set(descendants(os.getpid())) - before
    return left.difference(*(descendants(pid) for pid in before)) if left else left


async def tasks_left(grace_s: float = GRACE_S) -> list[str]:
    """Return the names of tasks that still run on this loop, beside the one that asks."""
    deadline = time.monotonic() + grace_s
    own = asyncio.current_task()
    while left := [task for task in asyncio.all_tasks() if task is not own and not task.done()]:
        if time.monotonic() > deadline:
            return [f"{task.get_name()}: {task.get_coro()}" for task in left]
        await asyncio.sleep(0.01)
    return []
