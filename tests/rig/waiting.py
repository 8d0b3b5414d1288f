"""Waiting for a state with a deadline, and ports that are free."""

from __future__ import annotations

import asyncio
import inspect
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

PORTS = range(12000, 32000)
"""Below the kernel's ephemeral ports (from 32768), so that no outgoing connection takes one in the meantime."""
LOOK_EVERY_S = 0.02


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]], limit_s: float = 10.0, *, what: str = "", every_s: float = LOOK_EVERY_S
) -> T: ...
@overload
async def eventually(
    predicate: Callable[[], T], limit_s: float = 10.0, *, what: str = "", every_s: float = LOOK_EVERY_S
) -> T: ...
async def eventually(
    predicate: Callable[[], T | Awaitable[T]], limit_s: float = 10.0, *, what: str = "", every_s: float = LOOK_EVERY_S
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


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at this moment. Where possible listen on port 0 instead."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no free port found in a hundred")
