"""Deliveries known to the controller, and transfers steered through it, with the programs as users start them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from mft.cli.admin_client import Server, connect, read_token
from mft.pb.admin.v1 import admin_pb2 as pb
from tests.rig.cluster import Cluster, clean_environment, program
from tests.rig.waiting import eventually

LIMIT_S = 60.0


async def deliveries(cluster: Cluster, *options: str) -> list[dict[str, Any]]:
    ended = await cluster.admin("deliveries", *options, "--output", "json")
    assert ended.code == 0, ended.errors
    found: list[dict[str, Any]] = json.loads(ended.output)
    return found


async def known(cluster: Cluster, count: int, path: str, outcome: str = "delivered") -> list[pb.Delivery]:
    """Wait until the controller knows of so many deliveries."""
    request = pb.ListDeliveriesRequest(path=path, outcome=outcome)

    async def look() -> list[pb.Delivery]:
        found = list((await ask(cluster, "deliveries", "ListDeliveries", request)).deliveries)
        return found if len(found) >= count else []

    return await eventually(look, LIMIT_S, what=f"{count} deliveries are known", every_s=0.1)


async def ask(cluster: Cluster, service: str, method: str, request: Any) -> Any:
    """Call the controller as `mft-admin` does, without a process for each call."""

    def call() -> Any:
        with connect(Server(cluster.admin_address, read_token(cluster.token_file))) as client:
            return client.call(getattr(getattr(client, service), method), request)

    return await asyncio.to_thread(call)


async def transfer(cluster: Cluster) -> pb.Transfer:
    request = pb.ListTransfersRequest(transfer="out")
    found: pb.Transfer = (await ask(cluster, "transfers", "ListTransfers", request)).transfers[0]
    return found


async def arrived(cluster: Cluster, name: str) -> None:
    await eventually((cluster.inbox / name).exists, LIMIT_S, what=f"{name} arrived")


async def test_was_it_sent(cluster: Cluster) -> None:
    """Goal: whoever asks for a file gets who sent what, when and by which config. Method: one file, each option."""
    cluster.give("asked.csv")
    await arrived(cluster, "asked.csv")
    content = (cluster.inbox / "asked.csv").read_bytes()
    await known(cluster, 1, "asked.csv")
    (one,) = await deliveries(cluster, "--path", "asked.csv")
    assert one["outcome"] == "delivered"
    assert one["sha256"] == hashlib.sha256(content).hexdigest()
    assert (one["node"], one["transfer"], one["size_bytes"]) == ("a", "out", len(content))
    assert one["config_version"] > 0
    assert one["run"] > 0
    assert one["term"] > 0
    assert (one["source_path"], one["destination_path"]) == ("outgoing/asked.csv", f"{cluster.inbox}/asked.csv")
    for options, count in [
        (("--transfer", "out", "--since", "1h", "--outcome", "delivered", "--path", "asked.*"), 1),
        (("--path", "*/inbox/asked.csv"), 1),
        (("--path", "asked.csv", "--until", "2020-01-01"), 0),
        (("--transfer", "another"), 0),
    ]:
        assert len(await deliveries(cluster, *options)) == count, options
    assert "asked.csv" in (await cluster.admin("deliveries", "--transfer", "out")).output
    ended = await cluster.admin("deliveries", "--since", "yesterday")
    assert (ended.code, "neither an age" in ended.errors) == (1, True)
    refused = await cluster.admin("resend", "out", one["delivery"])
    assert (refused.code, "was delivered at" in refused.errors) == (3, True), refused


async def test_the_controller_was_away(cluster: Cluster) -> None:
    """Goal: its absence loses no delivery and doubles none. Method: kill it, deliver, kill the agent too, start."""
    names = [f"away-{n}.csv" for n in range(20)]
    cluster.give(*names[:10])
    await arrived(cluster, names[0])
    cluster.controller.kill()
    cluster.give(*names[10:])
    for name in names:
        await arrived(cluster, name)
    os.kill(cluster.nodes["a"].agent(), signal.SIGKILL)
    cluster.controller.launch()
    await cluster.whole("a", "ctl")
    found = await known(cluster, 20, "away-*")
    assert sorted(one.destination_path.rpartition("/")[2] for one in found) == sorted(names)


async def test_steering(cluster: Cluster) -> None:
    """Goal: pause, resume, run and cancel do what they say, through a failover. Method: each, with a file."""

    async def idle() -> bool:
        return (await transfer(cluster)).state in {"idle", "running"}

    async def led_again() -> bool:
        return (await transfer(cluster)).leader == "a"

    await eventually(idle, LIMIT_S, what="the leader answers", every_s=0.2)
    paused = await cluster.admin("transfers", "pause", "out", "--reason", "month end", "--by", "ann")
    assert paused.code == 0, paused.errors
    listed = (await cluster.admin("transfers", "list")).output
    assert "paused" in listed
    assert "month end" in listed
    cluster.give("paused.csv")
    os.kill(cluster.nodes["a"].agent(), signal.SIGKILL)
    await eventually(led_again, LIMIT_S, what="it is led again", every_s=0.2)
    await asyncio.sleep(1.0)  # Five times what it would wait if it were not paused.
    assert not (cluster.inbox / "paused.csv").exists()
    assert (await cluster.admin("transfers", "resume", "out")).output == "transfer out goes on\n"
    await arrived(cluster, "paused.csv")
    assert "was not paused" in (await cluster.admin("transfers", "resume", "out")).output
    slow = cluster.base()
    slow["transfers"]["out"]["poll_interval_s"] = 3600.0
    await cluster.whole("a", version=await cluster.apply(slow))
    await eventually(idle, LIMIT_S, what="it waits for its next look", every_s=0.2)
    await asyncio.sleep(0.5)
    cluster.give("run.csv")
    asked = await cluster.admin("transfers", "run", "out")
    assert (asked.code, "on a" in asked.output) == (0, True), asked
    await arrived(cluster, "run.csv")
    nothing = await cluster.admin("transfers", "cancel", "out")
    assert (nothing.code, "makes no pass now" in nothing.errors) == (3, True), nothing
    for command in ("show", "run", "pause", "resume", "cancel"):
        ended = await cluster.admin("transfers", command, "nobody")
        assert (ended.code, "no transfer nobody" in ended.errors) == (1, True), (command, ended)


async def test_a_held_file_is_sent_on_demand(cluster: Cluster) -> None:
    """Goal: what is put aside says so and goes by `resend`, unless it was moved away.

    Method: the destination has the name; then it has not. The same with an archive for what fails.
    """
    document = cluster.base()
    document["transfers"]["out"] |= {"overwrite_rule": "fail", "retry": {"attempts_max": 1}}
    (cluster.inbox / "held.csv").write_bytes(b"was there")
    await cluster.whole("a", version=await cluster.apply(document))
    cluster.give("held.csv")
    (held,) = await known(cluster, 1, "held.csv", "quarantined")
    shown = (await cluster.admin("transfers", "show", "out")).output
    assert held.delivery in shown
    assert "quarantined" in shown
    (cluster.inbox / "held.csv").unlink()
    asked = await cluster.admin("resend", "out", held.delivery)
    assert asked.code == 0, asked.errors
    (sent,) = await known(cluster, 1, "held.csv")
    assert (cluster.inbox / "held.csv").stat().st_size == sent.size_bytes
    unknown = await cluster.admin("resend", "out", "nothing")
    assert (unknown.code, "no open delivery" in unknown.errors) == (1, True), unknown
    document["transfers"]["out"] |= {"archive": {"failure_path": "failed"}}
    (cluster.inbox / "moved.csv").write_bytes(b"was there")
    await cluster.whole("a", version=await cluster.apply(document))
    cluster.give("moved.csv")
    (moved,) = await known(cluster, 1, "moved.csv", "quarantined")

    async def is_not_ours() -> bool:
        refused = await cluster.admin("resend", "out", moved.delivery)
        return (refused.code, "archive.failure_path" in refused.errors) == (3, True)

    await eventually(is_not_ours, LIMIT_S, what="what was moved to failure_path is not held", every_s=0.5)


async def test_a_run_is_watched_and_cancelled(cluster: Cluster) -> None:
    """Goal: progress is live, and a cancelled run loses nothing. Method: a file with a bandwidth limit."""
    document = cluster.base()
    document["transfers"]["out"] |= {"bandwidth_bytes_s": 1_000_000, "poll_interval_s": 3600.0}
    await cluster.whole("a", version=await cluster.apply(document))
    cluster.give("slow.bin", size_bytes=30_000_000)
    async with watching(cluster) as change:
        assert (await cluster.admin("transfers", "run", "out")).code == 0

        async def moves() -> dict[str, Any]:
            for run in (await change())["runs"]:
                if run["bytes_done"] and run["rate_bytes_s"] and run["files"]:
                    return dict(run)
            return {}

        run = await eventually(moves, LIMIT_S, what="progress is seen", every_s=0)
        assert (run["transfer"], run["instance"]) == ("out", "a")
        assert run["files"][0]["name"] == "slow.bin"
        assert 0 < run["files"][0]["bytes_done"] < run["files"][0]["size_bytes"] == 30_000_000
        assert 100_000 < run["rate_bytes_s"] < 10_000_000
        cancelled = await cluster.admin("transfers", "cancel", "out")
        assert cancelled.code == 0, cancelled.errors

        async def over() -> bool:
            return not (await change())["runs"]

        await eventually(over, LIMIT_S, what="the run is over", every_s=0)
    document["transfers"]["out"] |= {"bandwidth_bytes_s": 0, "poll_interval_s": 0.2}
    await cluster.apply(document)
    await arrived(cluster, "slow.bin")
    assert (cluster.inbox / "slow.bin").stat().st_size == 30_000_000
    assert len(await known(cluster, 1, "slow.bin")) == 1


@contextlib.asynccontextmanager
async def watching(cluster: Cluster) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
    """Run `mft-admin transfers watch`; each call gives its next line."""
    process = await asyncio.create_subprocess_exec(
        *(program("mft-admin"), "transfers", "watch", "--output", "json"),
        env=clean_environment(MFT_ADMIN=cluster.admin_address, MFT_ADMIN_TOKEN_FILE=str(cluster.token_file)),
        stdout=asyncio.subprocess.PIPE,
    )

    async def change() -> dict[str, Any]:
        assert process.stdout is not None
        line: dict[str, Any] = json.loads(await asyncio.wait_for(process.stdout.readline(), LIMIT_S))
        return line

    try:
        await change()
        yield change
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
