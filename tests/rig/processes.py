"""One server process of a test: its log is kept, and it is killed or frozen together with all its descendants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.rig.waiting import eventually

END_LIMIT_S = 40.0


def _status(pid: int, thread: int | None = None) -> tuple[str, int] | None:
    """Return state letter and parent of a process or of one thread, None if it is gone. Source: proc(5)."""
    try:
        stat = Path(f"/proc/{pid}/task/{thread or pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]
    return state, int(parent)


def is_alive(pid: int) -> bool:
    """Say whether the process runs. One that has ended and was not waited for (a zombie) does not."""
    status = _status(pid)
    return status is not None and status[0] != "Z"


def _is_frozen(pid: int) -> bool:
    """Say whether each thread is stopped: a signal only asks for it, and other threads run on for a moment."""
    try:
        states = [_status(pid, int(thread)) for thread in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        return True
    return all(status is None or status[0] in "TtZX" for status in states)


def descendants(pid: int) -> list[int]:
    """Return the pids of all living descendants of a process, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (status := _status(int(entry))) and status[0] != "Z":
            children.setdefault(status[1], []).append(int(entry))
    found = list[int]()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def signal_tree(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all its descendants."""
    for each in (pid, *descendants(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, number)


class ServerProcess:
    """A command that can be started again and again with the same arguments. `close` ends it for good."""

    def __init__(self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        self._environment = dict(environment) if environment is not None else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Only while it runs."""
        assert self._process is not None, "not started"
        return self._process.pid

    def running(self) -> bool:
        """Say whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the command. Its output is appended to the log. It dies with the tests, even if those are killed."""
        assert not self.running(), "already running"
        # setpriv executes the command in its own place, so the pid is the command's.
        before = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                before + self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    def kill(self) -> None:
        """SIGKILL it and all its descendants, and wait until it is gone."""
        if self._process is not None:
            signal_tree(self._process.pid, signal.SIGKILL)
            self._process.wait(END_LIMIT_S)

    def pause(self) -> None:
        """Freeze it and all its descendants (SIGSTOP): connections stay open, nothing answers. Waits until it is so."""
        signal_tree(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + END_LIMIT_S
        while not all(_is_frozen(each) for each in (self.pid, *descendants(self.pid))):
            assert time.monotonic() < deadline, f"{self.command[0]} does not stop"
            time.sleep(0.001)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        signal_tree(self.pid, signal.SIGCONT)

    async def terminate(self) -> int:
        """Ask it to end (SIGTERM), wait for that, and return its exit code; kill what is left after the limit."""
        process = self._process
        assert process is not None, "not started"
        process.send_signal(signal.SIGTERM)
        try:
            await eventually(lambda: process.poll() is not None, END_LIMIT_S, what=f"end of {self.command[0]}")
        finally:
            self.kill()
        return process.returncode

    def tail(self, lines: int = 40) -> str:
        """Return the end of the log, for a failure's message."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Add the end of the log to an error that leaves the block."""
        try:
            yield
        except (AssertionError, OSError, TimeoutError, asyncio.CancelledError) as error:
            error.add_note(f"--- {self.command[0]}, {self.log}:\n{self.tail()}")
            raise
