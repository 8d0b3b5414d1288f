"""The agent's entry point: `python -m mft.agent.main OPTIONS LEASE_FD GUARDIAN`, spawned by the guardian alone.

LEASE_FD is a socket on which the agent tells the guardian which lease it holds, so that the guardian can end that lease
when the agent has died.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import structlog
import uvloop
from msgspec import json

from mft import log
from mft.agent.guardian import EXIT_USAGE
from mft.agent.options import AgentOptions
from mft.aio import first_error, is_only
from mft.errors import Denied, Invalid
from mft.process import collect_rarely, die_with_parent

_NICE = -5
"""The agent's priority, where permitted: its loop must be free to renew the lease however busy the workers are, which
keep the guardian's."""


def main() -> None:
    """Run one agent until it is told to end."""
    die_with_parent(int(sys.argv[3]))
    options = json.decode(sys.argv[1], type=AgentOptions)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # A mask is inherited, whoever started the program.
    log.setup(options.log_format, options.log_level, node=options.name, process="agent", pid=os.getpid())
    try:
        os.nice(_NICE)
    except OSError:
        pass
    try:
        uvloop.run(_run(options, socket.socket(fileno=int(sys.argv[2]))))
    except (Invalid, Denied) as error:
        _give_up(error)
    except BaseExceptionGroup as group:
        if not is_only(group, Invalid, Denied):
            raise
        _give_up(first_error(group))


def _give_up(error: BaseException) -> None:
    structlog.get_logger().error("the agent cannot start", reason=str(error))
    sys.exit(EXIT_USAGE)


async def _run(options: AgentOptions, lease_pipe: socket.socket) -> None:
    # Not before this process is bound to its guardian: these libraries take a second, on a busy machine ten, and a
    # guardian that dies meanwhile would be outlived for so long.
    from mft.agent.agent import Agent

    collect_rarely()
    agent = Agent(options, lease_pipe)
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, terminated.set)
    await agent.run(terminated)


if __name__ == "__main__":
    main()
