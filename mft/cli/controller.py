"""`mft-controller`: the single source of truth. Administrators talk to it, and it writes the config to etcd."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mft import log
from mft.agent.options import AgentOptions
from mft.cli import options
from mft.cluster.keys import part
from mft.errors import Conflict, Invalid

app = typer.Typer(
    add_completion=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)

Listen = Annotated[
    str, typer.Option("--listen", envvar="MFT_LISTEN", metavar="HOST:PORT", help="Where administrators connect (gRPC).")
]
TlsCert = Annotated[Path | None, typer.Option(envvar="MFT_TLS_CERT", help="Certificate (PEM) shown to administrators.")]
TlsKey = Annotated[Path | None, typer.Option(envvar="MFT_TLS_KEY", help="Key (PEM) of that certificate.")]
InsecureAdmin = Annotated[
    bool,
    typer.Option(
        "--insecure-admin", envvar="MFT_INSECURE_ADMIN", help="Listen beyond this machine without TLS all the same."
    ),
]
LinkListen = Annotated[
    str,
    typer.Option(
        envvar="MFT_LINK_LISTEN",
        metavar="HOST:PORT",
        help="Where nodes attach with events and answers (TLS, keys of the cluster). Port 0: any free one.",
    ),
]
LinkAddress = Annotated[
    str,
    typer.Option(
        envvar="MFT_LINK_ADDRESS",
        metavar="HOST,…",
        help="Names or addresses under which nodes reach this machine. [default: found out]",
    ),
]
DeliveriesDays = Annotated[
    int, typer.Option(envvar="MFT_DELIVERIES_DAYS", min=1, max=36500, help="Days for which deliveries are remembered.")
]
Embedded = Annotated[
    bool,
    typer.Option(
        "--embedded-etcd",
        envvar="MFT_EMBEDDED_ETCD",
        help="Run an etcd here, its data in the data folder. For one host; high availability means three members.",
    ),
]
EmbeddedListen = Annotated[
    str, typer.Option(envvar="MFT_EMBEDDED_ETCD_LISTEN", metavar="HOST:PORT", help="Where the embedded etcd listens.")
]
Agent = Annotated[
    bool, typer.Option("--agent/--no-agent", envvar="MFT_AGENT", help="Also run services and transfers here.")
]


def main() -> None:
    """Run the program."""
    options.guarded(app)


@app.callback(invoke_without_command=True)
def controller(
    context: typer.Context,
    etcd: options.Etcd = "",
    name: options.Name = "",
    cluster: options.Cluster = "default",
    data: options.Data = None,
    listen: Listen = "127.0.0.1:7443",
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    insecure_admin: InsecureAdmin = False,
    link_listen: LinkListen = "0.0.0.0:7444",
    link_address: LinkAddress = "",
    deliveries_days: DeliveriesDays = 365,
    embedded_etcd: Embedded = False,
    embedded_etcd_listen: EmbeddedListen = "127.0.0.1:2379",
    agent: Agent = True,
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
    """Run the controller of an MFT cluster.

    The first time, `mft-controller init` makes the cluster's keys; with --embedded-etcd that is done by itself. Nodes
    need only etcd: they go on without the controller. SIGTERM drains; a second one ends at once.
    """
    if context.invoked_subcommand:
        return
    from mft.cli.controller_program import ControllerOptions, run

    name = part(name or options.default_name(), "--name")
    log.setup(log_format.value, log_level.value, node=name, process="controller")
    folder = options.data_folder(data, "controller")
    if embedded_etcd and etcd:
        raise Invalid("--embedded-etcd and --etcd exclude each other")
    endpoints = embedded_etcd_listen if embedded_etcd else etcd
    instance = AgentOptions(
        name=name,
        role="controller",
        cluster=part(cluster, "--cluster"),
        etcd=options.etcd_options(endpoints, etcd_ca, etcd_cert, etcd_key),
        data=str(folder / "agent"),
        lease_ttl_s=lease_ttl,
        inbound_workers=inbound_workers or options.default_workers(),
        outbound_workers=outbound_workers or options.default_workers(),
        health_address=health,
        stop_s=stop,
        log_format=log_format.value,
        log_level=log_level.value,
    )
    chosen = ControllerOptions(
        instance=instance,
        folder=folder,
        with_agent=agent,
        listen=options.address(listen, "--listen"),
        certificate=tls_cert,
        key=tls_key,
        insecure=insecure_admin,
        link_listen=options.address(link_listen, "--link-listen"),
        link_addresses=tuple(word.strip() for word in link_address.split(",") if word.strip()),
        deliveries_days=deliveries_days,
        embedded_etcd=options.address(embedded_etcd_listen, "--embedded-etcd-listen") if embedded_etcd else None,
    )
    run(chosen)


@app.command()
def init(data: options.Data = None, cluster: options.Cluster = "default") -> None:
    """Make the keys of a new cluster: signing key, cluster key, admin token. Back this folder up.

    Refuses to touch a folder that already holds keys.
    """
    from mft.controller import home

    folder = options.data_folder(data, "controller")
    try:
        made = home.init(folder, part(cluster, "--cluster"))
    except Conflict as error:
        raise Conflict(f"{error}. Nothing was changed") from error
    print(f"The keys of cluster {cluster} are in {made.folder}. Back them up: without them no config can be signed.")
    print(f"  admin token   {made.folder / home.TOKEN}   (mft-admin --token-file …)")
    print(f"  for nodes     {made.folder / home.PUBLIC}   (mft-node --trust …; no secret in it)")
