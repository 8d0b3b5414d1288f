"""Programs as users start them: a partner that has no SFTP, and what Prometheus sees of the deliveries to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.rig.cluster import Cluster
from tests.rig.shell_sshd import ShellSshd
from tests.rig.waiting import eventually, free_port

FILES = [f"file-{number}.csv" for number in range(5)]


async def scrape(port: int) -> list[str]:
    """Ask for the page; its lines without the comments, none while nobody answers."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return []
    try:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    finally:
        writer.close()
    assert head.startswith("HTTP/1.1 200 "), head
    return [line for line in body.splitlines() if not line.startswith("#")]


async def test_files_to_a_server_without_sftp_are_delivered_and_counted(tmp_path: Path) -> None:
    """Goal: an old partner gets its files, and an operator sees it. Method: five files by `scp`; scrape the node."""
    cluster, port = Cluster(tmp_path / "one", embedded=True), free_port()
    partner = ShellSshd(tmp_path / "old")
    inbox = partner.home / "inbox"
    inbox.mkdir()
    cluster.node("a", "--health", f"127.0.0.1:{port}")
    document = cluster.base()
    place = {"type": "scp", "port": partner.port, "host_keys": [partner.host_key]}
    document["locations"]["partner"] |= place | {"private_key": partner.key.read_text("utf-8")}
    document["transfers"]["out"] |= {"destination_path": str(inbox), "content_check": "hash"}
    wanted = {
        'mft_deliveries_total{outcome="delivered",transfer="out"} 5.0',
        'mft_delivered_bytes_total{transfer="out"} 100000.0',
        'mft_leader{group="default"} 1.0',
        'mft_partner_connections_total{location="partner",outcome="connected"} 1.0',
        'mft_location_broken{location="partner"} 0.0',
        'mft_workers{kind="outbound"} 1.0',
        "mft_etcd_connected 1.0",
        "mft_ready 1.0",
    }
    found: set[str] = set()

    async def all_told() -> bool:
        found.update(await scrape(port))
        return wanted <= found

    try:
        await partner.start()
        await cluster.start("a")
        await cluster.whole("a", version=await cluster.apply(document))
        cluster.give(*FILES)
        await eventually(lambda: sorted(path.name for path in inbox.iterdir()) == FILES, what="all have arrived")
        assert not list(cluster.outgoing.glob("*.csv"))
        with cluster.nodes["a"].explained():
            await eventually(all_told, what=f"the metrics say so; missing: {wanted - found}")
    finally:
        cluster.kill()
        partner.kill()
