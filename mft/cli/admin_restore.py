"""`mft-admin restore`: what a restore of etcd waits for, and going on without it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mft.cli.admin_options import ADDRESS, SETTINGS, Address, OutputForm, TlsCa, TokenFile, connect_to
from mft.cli.admin_output import Output, message_json, print_json, print_table, say, time_text
from mft.cli.admin_transfers import By, author

restore_app = typer.Typer(
    help="After etcd was restored from a backup: whose records outbound transfers wait for.",
    no_args_is_help=True,
    context_settings=dict(SETTINGS),
)


@restore_app.command("status")
def restore_status(
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Show which nodes have posted what they know of deliveries, and which are waited for."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        _show(client.call(client.cluster.GetRestore, pb.GetRestoreRequest()), output)


@restore_app.command("accept")
def restore_accept(
    without: Annotated[
        list[str], typer.Option("--without", metavar="NODE", help="A node whose disk is lost; can be repeated.")
    ],
    by: By = "",
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Go on without the records of nodes that will not come back.

    What they alone have delivered since the backup may be sent again. Deliveries that were being published are held as
    uncertain: see `mft-admin transfers show`, and `mft-admin resend`.
    """
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        request = pb.AcceptRestoreRequest(without=without, by=by or author())
        _show(client.call(client.cluster.AcceptRestore, request), output)


def _show(answer: Any, output: Output) -> None:
    if output is Output.JSON:
        print_json(message_json(answer))
        return
    if not answer.under_way:
        say("no restore is under way: nodes may make outbound transfers")
        return
    say(f"since {time_text(answer.began_at)} no node makes outbound transfers: {answer.why}")
    print_table(
        ("NODE", "RECORDS", "OPEN DELIVERIES", "KEPT SOURCES", "REMARKS"),
        [(node.name, node.state, str(node.deliveries), str(node.sources), _remark(node)) for node in answer.nodes],
    )


def _remark(node: Any) -> str:
    if node.state == "left out":
        return f"by {node.left_out_by}"
    if node.state == "new":
        return "it was installed anew; those of the node before are waited for"
    return "start it, or go on without it: `mft-admin restore accept`" if node.state == "awaited" else ""
