"""A worker's entry point: `python -m mft.worker.main KIND NODE CHANNEL DESCRIPTORS LOG NICE AGENT`.

The agent runs it. CHANNEL and DESCRIPTORS are the numbers of two inherited sockets: frames, and listening sockets on
their way here. NICE is the priority that the program was started with; the agent has given itself a better one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Any, Literal, cast

import structlog
import uvloop

from mft import log
from mft.process import collect_rarely, die_with_parent, wait_for_turn
from mft.worker.frames import FRAME_READ_BYTES, Channel, Order

Kind = Literal["inbound", "outbound"]


def main() -> None:
    """Run one worker until its agent is gone or drains it."""
    kind, node, channel_fd, descriptors_fd, log_options, nice, parent = sys.argv[1:]
    die_with_parent(int(parent))
    os.setpriority(os.PRIO_PROCESS, 0, int(nice))
    format, _, level = log_options.partition(":")
    log.setup(format, level, node=node, process=f"{kind}-worker", pid=os.getpid())
    # The terminal's Ctrl-C goes to the whole group; only the guardian acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(_serve(cast(Kind, kind), int(channel_fd), int(descriptors_fd)))


async def _serve(kind: Kind, channel_fd: int, descriptors_fd: int) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=channel_fd), limit=FRAME_READ_BYTES)
    channel: Channel[Order] = Channel(reader, writer, Order)
    asyncio.get_running_loop().set_exception_handler(tell_lost_calls)
    descriptors = socket.socket(fileno=descriptors_fd)
    try:
        # Each kind imports only what it needs: a worker starts in half the time without the other's libraries.
        if kind == "inbound":
            from mft.worker.inbound import serve

            collect_rarely()
            await serve(channel, descriptors)
        else:
            from mft.worker.outbound import OutboundWorker

            wait_for_turn()
            collect_rarely()
            await OutboundWorker(channel).serve()
    finally:
        descriptors.close()
        channel.close()


def tell_lost_calls(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say in one line what became of calls that nobody waits for any more.

    asyncssh leaves the parallel parts of a read or write to themselves when it is cancelled, as happens to all files on
    their way when a partner's connection is lost. That connection's end is told where it was noticed.
    """
    error = context.get("exception")
    if type(error).__module__.partition(".")[0] == "asyncssh":
        structlog.get_logger().debug("a call ended with its connection", reason=str(error))
    else:
        loop.default_exception_handler(context)


if __name__ == "__main__":
    main()
