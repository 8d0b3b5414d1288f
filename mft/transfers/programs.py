"""Running one local program for a file: no shell, bounded, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mft.process import bound_command

_TAIL_BYTES_MAX = 2048
"""Of what a program prints, so much of the end is told."""
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""Of the environment of this process a program gets no more than these."""


class Outcome(NamedTuple):
    """How a program ended."""

    problem: str
    """What went wrong; empty if nothing did."""
    output: str
    """The last lines that it printed."""

    def __str__(self) -> str:
        return f"{self.problem}; it printed: {self.output}" if self.output else self.problem


async def run_program(command: Sequence[str], values: Mapping[str, str], timeout_s: float) -> Outcome:
    """Run a program to its end. `values` is what comes to its environment.

    It runs in a session of its own. When it has ended, runs too long, or this is cancelled, all of its session is
    killed; and the kernel kills it should this process be killed.
    """
    environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ} | dict(values)
    if shutil.which(command[0], path=environment.get("PATH", os.defpath)) is None:
        return Outcome(f"there is no program {command[0]} on this instance", "")
    if any("\0" in word for word in (*command, *values.values())):
        return Outcome("an argument has a null character", "")
    process = await asyncio.create_subprocess_exec(
        *bound_command(*command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    tail = bytearray()
    problem = ""
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(_read_tail(process.stdout, tail), name="program output")
        try:
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError:
            problem = f"it was ended after {timeout_s:g} s"
        finally:
            _kill_session(process.pid)
        await process.wait()
        # Only what has left the session could still hold the pipe.
        await asyncio.wait([reading], timeout=1.0)
        reading.cancel()
    if not problem and process.returncode:
        problem = _status(process.returncode)
    return Outcome(problem, tail.decode(errors="replace").strip())


async def _read_tail(stream: asyncio.StreamReader | None, tail: bytearray) -> None:
    assert stream is not None
    while piece := await stream.read(65536):
        tail += piece
        del tail[:-_TAIL_BYTES_MAX]


def _kill_session(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _status(returncode: int) -> str:
    if returncode > 0:
        return f"it ended with status {returncode}"
    try:
        return f"it was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"it was ended by signal {-returncode}"
