"""deploy/haproxy.cfg and deploy/examples/compose.toml with real parts: HAProxy before two nodes, OpenSSH as partner."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import tomllib
from pathlib import Path
from typing import Any

from tests.integration.deploy.programs import run_programs
from tests.rig.binaries import REPOSITORY, find
from tests.rig.processes import ServerProcess
from tests.rig.sftp import sftp_batch
from tests.rig.sshd import Sshd
from tests.rig.waiting import eventually, free_port

DEPLOY = REPOSITORY / "deploy"
CLIENT = "127.0.0.5"
"""An address that neither HAProxy nor the nodes have, so that it can only come from the PROXY header."""
LIMIT_S = 60.0


def example_config(folder: Path, ports: dict[str, int], partner: Sshd) -> dict[str, Any]:
    """Return the shipped config with this machine's addresses, ports and folders, and the partner's key."""
    text = (DEPLOY / "examples" / "compose.toml").read_text("utf-8").replace("/srv/mft", str(folder))
    config: dict[str, Any] = tomllib.loads(text)
    config["services"]["sftp"]["listener"] |= {"address": "127.0.0.1", "proxy_trusted": ["127.0.0.1"]}
    config["nodes"] = {
        name: {"overrides": {"services": {"sftp": {"listener": {"port": port}}}}} for name, port in ports.items()
    }
    location = config["locations"]["partner"]
    del location["password"]
    location |= {"address": partner.host, "port": partner.port, "username": partner.user}
    location |= {"private_key": partner.key.read_text("utf-8"), "host_keys": [partner.host_key]}
    config["transfers"]["to-partner"]["destination_path"] = str(partner.home / "inbox")
    return config


def haproxy_config(ports: dict[str, int], port: int, stats_port: int) -> str:
    """Return the shipped file with this machine's ports, and a socket on which HAProxy tells what it sees."""
    text = (DEPLOY / "haproxy.cfg").read_text("utf-8")
    for name, node_port in ports.items():
        text = text.replace(f"{name}:2022", f"127.0.0.1:{node_port}")
    text = text.replace("bind :2022", f"bind 127.0.0.1:{port}").replace("log stdout", "log stderr")
    return text.replace("global\n", f"global\n  stats socket ipv4@127.0.0.1:{stats_port}\n", 1)


async def states(stats_port: int) -> dict[str, tuple[str, str]]:
    """Ask HAProxy: server → (status, how its last check ended), the star of a running check left out."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", stats_port)
    except OSError:
        return {}
    try:
        writer.write(b"show stat\n")
        async with asyncio.timeout(10):
            answer = (await reader.read()).decode().removeprefix("# ")
    except (OSError, TimeoutError):
        return {}
    finally:
        writer.close()
    rows = [row for row in csv.DictReader(io.StringIO(answer)) if row["pxname"] == "nodes"]
    return {
        row["svname"]: (row["status"], row["check_status"].removeprefix("* "))
        for row in rows
        if row["svname"] != "BACKEND"
    }


async def test_login_through_haproxy(tmp_path: Path, sshd: Sshd) -> None:
    """Goal: the shipped files work together. Method: a login through HAProxy to each node, seen in checks and events.

    The event logs must have the client's own address, and what is uploaded must arrive at the partner.
    """
    ports = {"node-1": free_port(), "node-2": free_port()}
    port, stats_port = free_port(), free_port()
    (tmp_path / "home" / "alice" / "outbox").mkdir(parents=True)
    (sshd.home / "inbox").mkdir()
    cfg = tmp_path / "haproxy.cfg"
    cfg.write_text(haproxy_config(ports, port, stats_port), "utf-8")
    haproxy = ServerProcess([find("haproxy"), "-db", "-f", cfg], tmp_path / "haproxy.log")
    (tmp_path / "hello.txt").write_text("hello", "utf-8")

    async def both_up() -> bool:
        return await states(stats_port) == dict.fromkeys(ports, ("UP", "L7OK"))

    async with run_programs(tmp_path, *ports) as programs:
        await programs.apply(example_config(tmp_path, ports, sshd))
        try:
            haproxy.launch()
            with haproxy.explained():
                await eventually(both_up, LIMIT_S, what="both nodes are up", every_s=0.2)
            options = ["-o", f"BindAddress={CLIENT}"]
            for n in range(2):
                put = [f"put {tmp_path / 'hello.txt'} outbox/hello-{n}.txt"]
                await sftp_batch(port, "alice", put, password="alice-example-1", options=options)
            logs = [tmp_path / "log" / f"{name}.log" for name in ports]

            async def logged_at_both() -> bool:
                # Once more: where a check has failed meanwhile, both logins went to the other node.
                await sftp_batch(port, "alice", ["pwd"], password="alice-example-1", options=options)
                return all(_logins(log) == {CLIENT} for log in logs)

            await eventually(logged_at_both, LIMIT_S, what="logins at both", every_s=0.3)
            arrived = [sshd.home / "inbox" / f"hello-{n}.txt" for n in range(2)]
            await eventually(lambda: all(path.exists() for path in arrived), LIMIT_S, what="the partner has both")
            assert [path.read_text("utf-8") for path in arrived] == ["hello", "hello"]
            await eventually(both_up, LIMIT_S, what="both nodes are up still")
        finally:
            haproxy.kill()


def _logins(log: Path) -> set[str]:
    text = log.read_text("utf-8") if log.exists() else ""
    return set(re.findall(r" 20137 .* logged in from (\S+) by ", text))
