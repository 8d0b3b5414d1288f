"""The program itself: starts the agent, and when that ends, ends what it left behind.

    agent dies → kill every worker → wait until all are gone → revoke the agent's lease → start the agent again

The order is what makes the quick failover safe: once the lease is revoked another node leads, so nothing of this one
may still be sending. Being the subreaper of all its descendants the guardian sees every one of them, and it is only
standard library, so that little can go wrong in it. If it dies itself, the kernel ends agent and workers (parent-death
signal), and the lease runs out by itself.

SIGTERM drains: it is passed to the agent. A second one ends everything at once.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from mft.process import die_with_parent, python_command

_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_END_S_MAX = 10.0
"""How long killed descendants may take to be gone; only one stuck in the kernel (a dead NFS mount) takes longer."""
_REVOKE_S_MAX = 5.0
_LOCK_S_MAX = 2.0
"""How long one that is just being killed may still have the data folder."""
_RESTART_S_FIRST, _RESTART_S_MOST = 0.2, 10.0
_STEADY_S = 60.0
"""An agent that lived this long did not fail at start: the next wait is the first again."""
EXIT_USAGE = 2
"""Exit status with which an agent says that starting it again is useless."""


class Guardian:
    """One agent at a time, and everything that descends from it."""

    def __init__(self, options: str) -> None:
        self._options = options
        self._agent: subprocess.Popen[bytes] | None = None
        self._lease = ""
        self._terminations = 0
        # Signals are read as bytes from a socket. Python's sigtimedwait returns one that never came if the process was
        # stopped (SIGSTOP, a paused container) for longer than the wait. Source: Python 3.11, Modules/signalmodule.c.
        self._signals, self._wakeup = socket.socketpair()
        self._signals.setblocking(False)
        self._wakeup.setblocking(False)

    def run(self) -> int:
        """Keep an agent running until asked to end. Returns the exit status of the program."""
        folder = json.loads(self._options)["data"]
        lock = _lock(Path(folder))
        if lock is None:
            _say(f"another instance uses the data folder {folder}: end that one, or give this one its own (--data)")
            return EXIT_USAGE
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, _heard)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wait_s = _RESTART_S_FIRST
        while True:
            began = time.monotonic()
            status = self._run_agent()
            if _end_descendants():
                self._revoke_lease()
            if self._terminations:
                return 0
            if status == EXIT_USAGE:
                return status
            wait_s = _RESTART_S_FIRST if time.monotonic() - began > _STEADY_S else min(wait_s * 2, _RESTART_S_MOST)
            _say(f"the agent ended with status {status}; it is started again in {wait_s:.1f} s")
            if self._rest(wait_s):
                return 0

    def _run_agent(self) -> int:
        """Start an agent and wait for its end, passing termination on. Returns its exit status."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        command = python_command("mft.agent.main", self._options, str(theirs.fileno()), str(os.getpid()))
        # grpc would otherwise try to survive a fork, and warn of each; the agent only forks to execute. What its core
        # says on standard error by itself, we say as errors.
        environment = {"GRPC_VERBOSITY": "NONE", **os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}
        self._agent = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        theirs.close()
        self._lease = ""
        while (status := self._agent.poll()) is None:
            self._heed(1.0)
            self._read_lease(ours)
        self._read_lease(ours)
        ours.close()
        return status

    def _heed(self, wait_s: float) -> None:
        """Wait for a signal; termination goes to the agent, the second one as SIGKILL."""
        if not select.select([self._signals], [], [], wait_s)[0]:
            return
        for number in self._signals.recv(4096):
            if number == signal.SIGCHLD:
                continue
            self._terminations += 1
            if self._agent is not None:
                self._agent.send_signal(signal.SIGTERM if self._terminations == 1 else signal.SIGKILL)

    def _rest(self, wait_s: float) -> bool:
        """Wait between two agents. Returns whether termination was asked for meanwhile."""
        self._agent = None
        until = time.monotonic() + wait_s
        while not self._terminations and (left := until - time.monotonic()) > 0:
            self._heed(left)
        return self._terminations > 0

    def _read_lease(self, pipe: socket.socket) -> None:
        """Take over the newest line the agent sent: the id of the lease it holds, or an empty one for none."""
        try:
            while data := pipe.recv(4096):
                lines = data.decode().split("\n")
                if len(lines) > 1:
                    self._lease = lines[-2]
        except BlockingIOError:
            pass

    def _revoke_lease(self) -> None:
        """End the dead agent's lease, so that another node leads at once instead of after its time to live."""
        if not self._lease:
            return
        command = python_command("mft.agent.revoke", self._options, self._lease)
        try:
            subprocess.run(command, timeout=_REVOKE_S_MAX, check=False)
        except subprocess.TimeoutExpired:
            _say("etcd did not answer: the dead agent's lease runs out by itself")


def _lock(folder: Path) -> int | None:
    """Take the data folder for this program's life, so that no two instances write to it. None: another one has it.

    Returns the descriptor that holds the lock, which no child inherits; -1 where the folder cannot be used, which the
    agent will explain.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1
    until = time.monotonic() + _LOCK_S_MAX
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(descriptor)
                return None
            time.sleep(0.1)
        except OSError:
            return -1  # A file system without locks.
        else:
            return descriptor


def _end_descendants() -> bool:
    """Kill every process that descends from this one and wait until all are gone; False if one cannot be ended."""
    until = time.monotonic() + _END_S_MAX
    while children := _children():
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > until:
            _say(f"processes {children} cannot be ended; the lease is left to run out by itself")
            return False
        time.sleep(0.01)
    return True


def _children() -> list[int]:
    """List the processes whose parent is this one; orphaned descendants are among them, for this is the subreaper."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _heard(_number: int, _frame: object) -> None:
    """Do nothing: a signal with a handler is written to the wakeup descriptor, and does not end the process."""


def _say(text: str) -> None:
    print(f"guardian: {text}", file=sys.stderr, flush=True)  # noqa: T201 -- structlog would double this process


def main() -> None:
    """Entry point: `python -m mft.agent.guardian OPTIONS [PARENT]`; with a parent's pid it ends when that ends."""
    if len(sys.argv) > 2:
        die_with_parent(int(sys.argv[2]))
    sys.exit(Guardian(sys.argv[1]).run())


if __name__ == "__main__":
    main()
