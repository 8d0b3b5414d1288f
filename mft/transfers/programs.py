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
    tail = bytearray()
    # A pipe of our own: asyncio waits for the end of one of its own, which a program's children may keep open.
    reading_end, writing_end = os.pipe()
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(_read_tail(reading_end, tail), name="program output")
        try:
            returncode = await _wait(command, environment, writing_end, timeout_s)
            # All of its session has ended. What left that may still hold the pipe.
            await asyncio.wait([reading], timeout=1.0)
        finally:
            reading.cancel()
    problem = _status(returncode) if returncode is not None else f"it was ended after {timeout_s:g} s"
    return Outcome(problem, tail.decode(errors="replace").strip())


async def _wait(command: Sequence[str], environment: Mapping[str, str], output: int, timeout_s: float) -> int | None:
    """Run it, writing to the descriptor `output`, which is closed. Returns its status; None if it ran too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *bound_command(*command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(output)
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        _kill_session(process.pid)
        await process.wait()


async def _read_tail(descriptor: int, tail: bytearray) -> None:
    """Read to the end, and keep what comes last."""
    stream = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), pipe
    )
    try:
        while piece := await stream.read(65536):
            tail += piece
            del tail[:-_TAIL_BYTES_MAX]
    finally:
        transport.close()


def _kill_session(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _status(returncode: int) -> str:
    if returncode == 0:
        return ""
    if returncode > 0:
        return f"it ended with status {returncode}"
    try:
        return f"it was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"it was ended by signal {-returncode}"
