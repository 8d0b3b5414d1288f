"""The programs that the demo starts: each with its log and all its descendants, which it freezes, kills and ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from mft.errors import MftError, Unavailable
from mft.process import bound_command

_PORTS = range(12000, 32000)
"""Below the kernel's ephemeral ports (from 32768), so that no outgoing connection takes one in the meantime."""
_LOOK_EVERY_S = 0.02
_END_S_MAX = 8.0
_GONE_S_MAX = 5.0
_ZOMBIE = "Z"
_PR_SET_CHILD_SUBREAPER = 36


class Program:
    """One program, in a session of its own, so that a terminal's Ctrl-C reaches the demo alone."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Process id of the program itself, which also names its session."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the program itself, whatever became of its children, has not ended."""
        return self._process.returncode is None

    def check_running(self) -> bool:
        """Return True while the program runs.

        Raises:
            Unavailable: it has ended; with the last line that it said.
        """
        if not self.is_running:
            raise Unavailable(f"{self.name} ended with status {self._process.returncode}: {self.last_line()}")
        return True

    def last_line(self) -> str:
        """Give the last line that the program said."""
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "nothing"

    def tree(self) -> list[int]:
        """List the living processes of this program: its descendants, and whoever is of its session; parents first."""
        parents = {pid: (parent, session) for pid, state, parent, session in _processes() if state != _ZOMBIE}
        found = [self.pid] if self.pid in parents else []
        for pid in found:  # Grows while it is walked: children of children too.
            found += [child for child, (parent, _) in parents.items() if parent == pid]
        return found + [pid for pid, (_, session) in parents.items() if session == self.pid and pid not in found]

    def signal_tree(self, number: signal.Signals) -> list[int]:
        """Send a signal to every process of this program; return which there were."""
        pids = self.tree()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def terminate(self) -> None:
        """Ask the program to end."""
        if self.is_running:
            with suppress(ProcessLookupError):
                self._process.terminate()

    async def kill(self) -> list[int]:
        """SIGKILL every process of this program, return their ids when none is left.

        Raises:
            Unavailable: one of them cannot be ended.
        """
        killed = self.signal_tree(signal.SIGKILL)
        await self._process.wait()
        ids = set(killed)
        await until(
            lambda: not ids & _living() and not self.signal_tree(signal.SIGKILL),
            _GONE_S_MAX,
            f"the end of all processes of {self.name}",
        )
        return killed

    async def end(self) -> None:
        """Ask it to end, give it some seconds, then kill what is left."""
        self.terminate()
        # Taken before it ends: children of a program that is gone can no longer be told from others.
        pids = self.tree()
        try:
            async with asyncio.timeout(_END_S_MAX):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            for pid in {*pids, *self.tree()} & _living():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await self._process.wait()


@asynccontextmanager
async def running(name: str, command: Sequence[str], log: Path) -> AsyncIterator[Program]:
    """Run a program for as long as the block does. The kernel ends it with this process, however that comes about."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *bound_command(*command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    program = Program(name, process, log)
    try:
        yield program
    finally:
        await program.end()


def adopt_orphans() -> None:
    """Let processes whose parents die become children of this one, so that none escapes. Source: prctl(2)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans() -> None:
    """Kill and wait for every child that is left; call it when nobody waits for one any more."""
    for pid, _, parent, _ in _processes():
        if parent == os.getpid():
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def own_command(program: str, *arguments: str) -> list[str]:
    """Give the command that runs one of this project's programs (`node`) with the same interpreter as this one."""
    return [sys.executable, "-c", f"from mft.cli.{program} import main; main()", *arguments]


async def until(condition: Callable[[], object], limit_s: float, what: str) -> None:
    """Return when the condition holds.

    Raises:
        Unavailable: it does not hold within the limit; `what` says what was waited for.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} did not come within {limit_s:.0f} s")
        await asyncio.sleep(_LOOK_EVERY_S)


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nobody listens on now.

    Raises:
        MftError: a hundred in a row are taken.
    """
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise MftError("no free TCP port was found on 127.0.0.1")


def answers(port: int) -> bool:
    """Say whether somebody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _living() -> set[int]:
    """Name all processes but those that have ended and were not waited for."""
    return {pid for pid, state, _, _ in _processes() if state != _ZOMBIE}


def _processes() -> list[tuple[int, str, int, int]]:
    """List all processes: id, state letter, parent, session. Source: proc(5), /proc/PID/stat."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 -- names are all that is wanted, and there are many
        if entry.isdigit():
            with suppress(OSError):
                # The program's name stands in parentheses and may hold anything, parentheses and spaces too.
                fields = Path(f"/proc/{entry}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                found.append((int(entry), fields[0], int(fields[1]), int(fields[3])))
    return found
