"""`mft-node`: one per machine. Takes inbound connections, and makes the outbound transfers while it is elected."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from msgspec import json

from mft.agent.options import AgentOptions
from mft.cli import options
from mft.cluster.keys import part
from mft.process import python_command

app = typer.Typer(
    add_completion=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


def main() -> None:
    """Run the program."""
    options.guarded(app)


@app.command()
def node(
    etcd: options.Etcd,
    name: options.Name = "",
    cluster: options.Cluster = "default",
    data: options.Data = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            envvar="MFT_TRUST", help="File with the controller's signing keys. [default: pinned at first join]"
        ),
    ] = None,
    etcd_ca: options.EtcdCa = None,
    etcd_cert: options.EtcdCert = None,
    etcd_key: options.EtcdKey = None,
    lease_ttl: options.LeaseTtl = 10,
    inbound_workers: options.InboundWorkers = 0,
    outbound_workers: options.OutboundWorkers = 0,
    health: options.HealthAddress = "",
    stop: options.StopSeconds = 30.0,
    log_format: options.LogFormatOption = options.LogFormat.HUMAN,
    log_level: options.LogLevelOption = options.LogLevel.INFO,
) -> None:
    """Run one node of an MFT cluster.

    It follows the config in etcd, serves inbound connections, and sends files while it is elected. With its snapshot it
    works and restarts without controller and without etcd. SIGTERM drains; a second one ends at once.
    """
    name = part(name or options.default_name(), "--name")
    chosen = AgentOptions(
        name=name,
        role="node",
        cluster=part(cluster, "--cluster"),
        etcd=options.etcd_options(etcd, etcd_ca, etcd_cert, etcd_key),
        data=str(options.data_folder(data, "node", name)),
        trust=str(trust.absolute()) if trust else None,
        lease_ttl_s=lease_ttl,
        inbound_workers=inbound_workers or options.default_workers(),
        outbound_workers=outbound_workers or options.default_workers(),
        health_address=health,
        stop_s=stop,
        log_format=log_format.value,
        log_level=log_level.value,
    )
    command = python_command("mft.agent.guardian", json.encode(chosen).decode())
    # The guardian takes this process over, so that the program is as small as its task, and its pid the one started.
    os.execv(command[0], command)
