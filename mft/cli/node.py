"""`mft-node`: one per machine. Takes inbound connections, and makes the outbound transfers while it is elected."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from msgspec import json

from mft.agent.options import AgentOptions
from mft.cli import common
from mft.cluster.keys import part
from mft.process import python_command

app = typer.Typer(
    add_completion=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


def main() -> None:
    """Run the program."""
    common.guarded(app)


@app.command()
def node(
    etcd: common.Etcd,
    name: common.Name = "",
    cluster: common.Cluster = "default",
    data: common.Data = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            envvar="MFT_TRUST", help="File with the controller's signing keys. [default: pinned at first join]"
        ),
    ] = None,
    etcd_ca: common.EtcdCa = None,
    etcd_cert: common.EtcdCert = None,
    etcd_key: common.EtcdKey = None,
    lease_ttl: common.LeaseTtl = 10,
    inbound_workers: common.InboundWorkers = 0,
    outbound_workers: common.OutboundWorkers = 0,
    health: common.HealthAddress = "",
    stop: common.StopSeconds = 30.0,
    log_format: common.LogFormatOption = common.LogFormat.HUMAN,
    log_level: common.LogLevelOption = common.LogLevel.INFO,
) -> None:
    """Run one node of an MFT cluster.

    It follows the config in etcd, serves inbound connections, and sends files while it is elected. With its snapshot it
    works and restarts without controller and without etcd. SIGTERM drains; a second one ends at once.
    """
    name = part(name or common.default_name(), "--name")
    options = AgentOptions(
        name=name,
        role="node",
        cluster=part(cluster, "--cluster"),
        etcd=common.etcd_options(etcd, etcd_ca, etcd_cert, etcd_key),
        data=str(common.data_folder(data, "node", name)),
        trust=str(trust.absolute()) if trust else None,
        lease_ttl_s=lease_ttl,
        inbound_workers=inbound_workers or common.default_workers(),
        outbound_workers=outbound_workers or common.default_workers(),
        health_address=health,
        stop_s=stop,
        log_format=log_format.value,
        log_level=log_level.value,
    )
    command = python_command("mft.agent.guardian", json.encode(options).decode())
    # The guardian takes this process over, so that the program is as small as its task, and its pid the one started.
    os.execv(command[0], command)
