"""Processes of this program: how one starts another, how none outlives its parent, how each uses the machine.

Standard library only.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when the process `parent` (a pid) ends; call it first thing after the start.

    A parent that died before this call is noticed too. Linux only. Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


_COLLECTED_AT = (20_000, 5, 2)
"""New objects before the youngest are looked through; how often that is done before the next older ones are looked
through with them, and that before all are: so garbage comes to some 200,000 objects at most."""


def collect_rarely() -> None:
    """Have this process look for garbage less often; call it when it has loaded what it needs.

    What it has loaded stays and is not looked through again, so that the rest is quickly seen. By itself Python looks
    after every 700 new objects: of small files, that was a fifth of a worker's time. Source: the module gc.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AT)


def wait_for_turn() -> None:
    """Have this process interrupt nobody when it wakes: it waits for its turn. Call it before it has more threads.

    For work that is long and not asked about: the agent with its lease, and whoever writes down at this machine what
    this process sends, are not held up by it, so all of it is done earlier. A priority would give it less of a busy
    machine; this does not. What it starts, threads and programs, is scheduled alike. Where an operator has chosen
    another policy, or it is not allowed, all stays as it is. Linux only. Source: sched(7), SCHED_BATCH.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def python_command(module: str, *arguments: str) -> list[str]:
    """Give the command that runs a module of this program in a new process with the same interpreter."""
    return [sys.executable, "-P", "-m", module, *arguments]


def bound_command(*command: str) -> list[str]:
    """Give the command that runs any program, ended by the kernel when this process ends, however that comes about."""
    return python_command("mft.process", str(os.getpid()), *command)


def _become() -> None:
    """Turn this process into the command after its first argument, the parent's pid. The signal outlives the exec."""
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    _become()
