"""Waiting for a state with a deadline, how long things may take on a busy machine, and ports that are free."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar, overload

T = TypeVar("T")

PORTS = range(12000, 32000)
"""Below the kernel's ephemeral ports (from 32768), so that no outgoing connection takes one in the meantime."""
LOOK_EVERY_S = 0.02
LIMIT_S = 30.0
"""How long a state is waited for: met only by what is broken, even where several programs start on two busy cores."""
_SLOWER = 3.0
"""How many times slower than alone anything may be at any time: other tests run beside it, other machines too."""


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]], limit_s: float = LIMIT_S, *, what: str = "", every_s: float = LOOK_EVERY_S
) -> T: ...
@overload
async def eventually(
    predicate: Callable[[], T], limit_s: float = LIMIT_S, *, what: str = "", every_s: float = LOOK_EVERY_S
) -> T: ...
async def eventually(
    predicate: Callable[[], T | Awaitable[T]],
    limit_s: float = LIMIT_S,
    *,
    what: str = "",
    every_s: float = LOOK_EVERY_S,
) -> T:
    """Call `predicate`, plain or async, until its result is true, and return that.

    Raises:
        AssertionError: it did not become true within `limit_s`; the message has `what` and the last result.
    """
    deadline = time.monotonic() + limit_s
    while True:
        result = predicate()
        value: T = await result if inspect.isawaitable(result) else result
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s} s: {what or inspect.getsource(predicate).strip()}: {value!r}")
        await asyncio.sleep(every_s)


def on_this_machine(limit_s: float) -> float:
    """Say how long what takes less than `limit_s` on a machine of its own may take on this one, as busy as it is."""
    return limit_s * max(_SLOWER, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def _next_port() -> int:
    """Count through the ports, over all processes of this user: a port that is given out comes again only much later.

    Drawn at random one would now and then be given to two tests before the first of them listens on it.
    """
    # Not in the tests' own folder for temporary files: test runs beside this one count here too.
    with Path(f"/tmp/mft-test-ports-{os.getuid()}").open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        count = int(file.read() or os.getpid()) + 1
        file.truncate(0)
        file.write(str(count))
    return PORTS[count % len(PORTS)]


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at this moment. Where possible listen on port 0 instead."""
    for _ in range(100):
        port = _next_port()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no free port found in a hundred")
