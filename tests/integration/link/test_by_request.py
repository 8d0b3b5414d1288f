"""A transfer that starts by request only, with real files: what is told of it, what is sent, and when."""

from __future__ import annotations

import os
import signal
import time

from mft.transfers.taking import new_delivery
from tests.integration.link.test_links import LIMIT_S, arrived, transfer
from tests.rig.cluster import Cluster
from tests.rig.waiting import eventually


async def test_files_wait_for_a_request_and_what_was_begun_does_not(cluster: Cluster) -> None:
    """Goal: only a request takes files; one that was taken before goes all the same; and people see which it is.

    Method: a file, and one as a leader leaves it that dies after taking; another leadership; then the request.
    """
    document = cluster.base()
    document["transfers"]["out"]["start"] = {"poll": False}
    await cluster.whole("a", version=await cluster.apply(document))

    async def waits() -> bool:
        now = await transfer(cluster)
        return (now.state, now.reason, now.next_run_at) == ("idle", "waits for a request", 0)

    await eventually(waits, LIMIT_S, what="it waits for a request", every_s=0.2)
    cluster.give("new.csv", "left.csv")
    taken = cluster.outgoing / ".mft" / new_delivery("out", time.time())
    taken.mkdir(parents=True)
    (cluster.outgoing / "left.csv").rename(taken / "left.csv")
    os.kill(cluster.nodes["a"].agent(), signal.SIGKILL)
    await arrived(cluster, "left.csv")
    await eventually(waits, LIMIT_S, what="it waits for a request again", every_s=0.2)
    assert (cluster.outgoing / "new.csv").exists()
    assert "waits for a request" in (await cluster.admin("transfers", "list")).output
    shown = (await cluster.admin("transfers", "show", "out")).output
    assert "state      idle: waits for a request" in shown
    assert "next not by itself" in shown
    asked = await cluster.admin("transfers", "run", "out")
    assert asked.code == 0, asked.errors
    await arrived(cluster, "new.csv")
    await eventually(waits, LIMIT_S, what="the request is finished", every_s=0.2)
