"""End one lease: `python -m mft.agent.revoke OPTIONS LEASE`, run by the guardian after everything of it is gone."""

from __future__ import annotations

import asyncio
import sys

from msgspec import json

from mft.agent.options import AgentOptions
from mft.errors import MftError, NotFound
from mft.etcd.client import EtcdClient


def main() -> None:
    """Revoke the lease; exit status 1 if etcd could not be told."""
    options = json.decode(sys.argv[1], type=AgentOptions)
    try:
        asyncio.run(_revoke(options, int(sys.argv[2])))
    except NotFound:
        pass  # It has run out already.
    except MftError as error:
        sys.exit(f"guardian: the dead agent's lease could not be ended: {error}")


async def _revoke(options: AgentOptions, lease: int) -> None:
    async with EtcdClient(options.etcd.endpoints, tls=options.etcd.tls()) as etcd:
        await etcd.leases.revoke(lease)


if __name__ == "__main__":
    main()
