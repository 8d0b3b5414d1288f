"""`mft-admin`: an administrator's commands, as a client of the controller's admin service.

Exit codes: 0 done, 1 invalid input (problems one a line, with path), 2 wrong use, 3 conflict, 4 denied, 5 unavailable.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mft.cli import options
from mft.cli.admin_options import ADDRESS, SETTINGS, Address, OutputForm, TlsCa, TokenFile, connect_to
from mft.cli.admin_output import Output, message_json, print_json, print_table, say, time_text, warn
from mft.cli.admin_restore import restore_app
from mft.cli.admin_transfers import author as caller
from mft.cli.admin_transfers import deliveries, resend, transfers_app
from mft.errors import Invalid, MftError, Problem

app = typer.Typer(
    help="Administer an MFT cluster through its controller.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=dict(SETTINGS),
)
config_app = typer.Typer(help="Versions of the config.", no_args_is_help=True, context_settings=dict(SETTINGS))
nodes_app = typer.Typer(help="The instances of the cluster.", no_args_is_help=True, context_settings=dict(SETTINGS))
app.add_typer(config_app, name="config")
app.add_typer(nodes_app, name="nodes")
app.add_typer(transfers_app, name="transfers")
app.add_typer(restore_app, name="restore")
app.command("deliveries")(deliveries)
app.command("resend")(resend)

Document = Annotated[str, typer.Argument(metavar="FILE", help="TOML or JSON; `-` reads standard input.")]


def main() -> None:
    """Run the program."""
    try:
        app()
    except MftError as error:
        if _wants_json(sys.argv):
            _fail_json(error)
        options.fail(error)


@config_app.command("apply")
def apply(
    file: Document,
    base: Annotated[int | None, typer.Option(min=0, help="Publish only if this is the current version.")] = None,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why; shown in the history.")] = "",
    author: Annotated[str, typer.Option(envvar="MFT_AUTHOR", help="Who; you on this host if not given.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Make a config document the newest version, for all nodes, at once.

    Everything that is wrong with it is told in one go; then nothing is written. What the document does not name is
    removed; `***` in place of a secret or password keeps the one that is there.
    """
    from mft.pb.admin.v1 import admin_pb2 as pb

    request = pb.ApplyRequest(
        document=_read(file), base_version=base, author=author or caller(), comment=comment, dry_run=dry_run
    )
    with connect_to(server, token_file, tls_ca) as client:
        answer = client.call(client.config.Apply, request)
    warn(Problem(warning.path, warning.message) for warning in answer.warnings)
    if output is Output.JSON:
        print_json(message_json(answer))
        return
    change = answer.change
    counts = f"{change.added} added, {change.changed} changed, {change.removed} removed"
    for name in change.names:
        say(f"  {name}")
    if unnamed := change.added + change.changed + change.removed - len(change.names):
        say(f"  and {unnamed} more")
    if answer.published:
        say(f"version {answer.version} is published: {counts}")
    elif dry_run:
        say(f"nothing was written; version {answer.version} stays current. It would be: {counts}")
    else:
        say(f"no change: version {answer.version} already says this")


@config_app.command("show")
def show(
    version: Annotated[int | None, typer.Option(min=1, help="Which version; the current one if not given.")] = None,
    sealed: Annotated[bool, typer.Option("--sealed", help="Show secrets sealed instead of as `***`.")] = False,
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Show a version as a document that can be edited and applied again. No secret is ever shown in clear."""
    import msgspec

    from mft.model.document import to_toml
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        answer = client.call(client.config.Show, pb.ShowRequest(version=version, sealed=sealed))
    document: dict[str, Any] = msgspec.json.decode(answer.document)
    if output is Output.JSON:
        print_json({**message_json(answer.version), "document": document})
        return
    about = answer.version
    say(f"# version {about.version} by {_one_line(about.author)}, {time_text(about.time)}")
    if about.comment:
        say(f"# {_one_line(about.comment)}")
    say(to_toml(document))


@config_app.command("history")
def history(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many, newest first.")] = 20,
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """List versions, newest first."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        answer = client.call(client.config.History, pb.HistoryRequest(limit=limit))
    if output is Output.JSON:
        print_json([message_json(version) for version in answer.versions])
        return
    print_table(
        ("VERSION", "TIME", "AUTHOR", "COMPONENTS", "COMMENT"),
        [
            (str(one.version), time_text(one.time), one.author, str(one.components), one.comment)
            for one in answer.versions
        ],
    )


@config_app.command("check")
def check(file: Document, output: OutputForm = Output.TABLE) -> None:
    """Check a document here, without a controller, and say everything that is wrong with it."""
    from mft.model.check import judge
    from mft.model.decode import invalid
    from mft.model.document import read

    config, findings = judge(read(_read(file)))
    if findings.problems:
        raise invalid(findings.problems)
    warn(findings.warnings)
    if output is Output.JSON:
        print_json({"valid": True, "warnings": [problem._asdict() for problem in findings.warnings]})
        return
    say(f"{file} is valid: {len(config.services)} services, {len(config.accounts)} accounts, "
        f"{len(config.transfers)} transfers")  # fmt: skip


@nodes_app.command("list")
def nodes_list(
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """List the instances: role, address, config version, what they lead, and what does not run on them."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        answer = client.call(client.cluster.ListNodes, pb.ListNodesRequest())
    if output is Output.JSON:
        print_json([message_json(node) for node in answer.nodes])
        return
    print_table(
        ("NAME", "ROLE", "ADDRESS", "STATE", "VERSION", "LEADS", "PROGRAM", "REMARKS"),
        [
            (
                node.name,
                node.role,
                node.address,
                node.state,
                _version_text(node),
                ", ".join(node.leads),
                node.program,
                _remarks(node),
            )
            for node in answer.nodes
        ],
    )


@nodes_app.command("forget")
def nodes_forget(
    name: Annotated[str, typer.Argument(help="The node's name.")],
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Forget a node that is gone, so that another machine can join under its name."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        client.call(client.cluster.ForgetNode, pb.ForgetNodeRequest(name=name))
    if output is Output.JSON:
        print_json({"forgotten": name})
    else:
        say(f"node {name} is forgotten")


@app.command("status")
def status(
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Show the cluster in one look."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        answer = client.call(client.cluster.GetStatus, pb.GetStatusRequest())
    if output is Output.JSON:
        print_json(message_json(answer))
        return
    say(f"cluster   {answer.cluster} (incarnation {answer.incarnation or 'none yet'})")
    say(f"config    version {answer.version}" if answer.version else "config    none applied yet")
    say(f"nodes     {answer.nodes_ready} of {answer.nodes} ready")
    for group, leader in sorted(answer.leaders.items()):
        say(f"leader    {group}: {leader}")
    if answer.restore_awaits:
        say(f"restore   waits for the records of {', '.join(answer.restore_awaits)}: see `mft-admin restore status`")
    say(f"etcd      {answer.etcd_version} at {answer.etcd_endpoint}, {answer.etcd_used_bytes / 1e6:.1f} MB used")


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _version_text(node: Any) -> str:
    if node.version_rejected:
        return f"{node.version_applied} (rejected {node.version_rejected})"
    if node.version_applied != node.version_wanted:
        return f"{node.version_applied} of {node.version_wanted}"
    return str(node.version_applied)


def _remarks(node: Any) -> str:
    remarks = [f"{component}: {why}" for component, why in sorted(node.problems.items())]
    if node.reason:
        remarks.insert(0, node.reason)
    if node.stale:
        remarks.insert(0, "serves an older version: newer ones on its disk are damaged")
    return "; ".join(remarks)


def _wants_json(arguments: list[str]) -> bool:
    """Say whether an error is for a program: an error may come before the options were taken apart."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-o", "--output", default=os.environ.get("MFT_OUTPUT", ""))
    return str(parser.parse_known_args(arguments)[0].output).lower() == "json"


def _fail_json(error: MftError) -> None:
    """Say the same for programs: one JSON object on standard error."""
    import json

    problems = [problem._asdict() for problem in getattr(error, "problems", ())]
    said = {"error": {"code": error.stable_code, "message": error.message, "problems": problems}}
    sys.stderr.write(json.dumps(said, ensure_ascii=False) + "\n")
    raise SystemExit(options.exit_code(error))
