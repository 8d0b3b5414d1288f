"""`mft-admin transfers`, `deliveries` and `resend`: what transfers do, steering them, and "was it sent?"."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from mft.cli.admin_options import ADDRESS, SETTINGS, Address, OutputForm, TlsCa, TokenFile, connect_to
from mft.cli.admin_output import Output, message_json, print_json, print_table, say, time_text
from mft.cli.admin_watch import watch_json, watch_table
from mft.errors import Invalid

transfers_app = typer.Typer(
    help="Transfers: what they do now, and steering them.", no_args_is_help=True, context_settings=dict(SETTINGS)
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The transfer's id in the config.")]
By = Annotated[str, typer.Option(envvar="MFT_AUTHOR", help="Who; you on this host if not given.")]

_UNITS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Outcome(StrEnum):
    """What became of a file."""

    DELIVERED = "delivered"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    QUARANTINED = "quarantined"
    KEPT = "kept"


@transfers_app.command("list")
def transfers_list(
    server: Address = ADDRESS, token_file: TokenFile = None, tls_ca: TlsCa = None, output: OutputForm = Output.TABLE
) -> None:
    """List transfers: who leads each, what it does now, when it looks next, and what is on its way or held."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        answer = client.call(client.transfers.ListTransfers, pb.ListTransfersRequest())
    if output is Output.JSON:
        print_json([message_json(one) for one in answer.transfers])
        return
    print_table(
        ("TRANSFER", "STATE", "LEADER", "NEXT", "OPEN", "FROM", "TO", "REMARKS"),
        [
            (
                one.id,
                one.state,
                one.leader,
                _in(one.next_run_at),
                _open_text(one),
                one.source,
                one.destination,
                one.reason,
            )
            for one in answer.transfers
        ],
    )


@transfers_app.command("show")
def transfers_show(
    id: Id,
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Show one transfer: its state, its open deliveries (those that wait for you first), and what went wrong last."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        answer = client.call(client.transfers.ListTransfers, pb.ListTransfersRequest(transfer=id))
    one = answer.transfers[0]
    if output is Output.JSON:
        print_json(message_json(one))
        return
    say(f"transfer   {one.id}{f' ({one.name})' if one.name else ''}")
    say(f"state      {one.state}{f': {one.reason}' if one.reason else ''}")
    if one.paused_at:
        say(f"paused     by {one.paused_by}, {time_text(one.paused_at)}")
    say(f"leader     {one.leader or 'none'} (group {one.leader_group})")
    say(f"from       {one.source}")
    say(f"to         {one.destination}")
    next_run = time_text(one.next_run_at) or ("not by itself" if one.state == "idle" else "not known")
    say(f"runs       last {time_text(one.last_run_at) or 'none yet'}; next {next_run}")
    say(f"delivered  {one.delivered} files since {one.leader or 'its leader'} leads")
    if one.deliveries:
        say("")
        print_table(
            ("DELIVERY", "STATE", "FILE", "BYTES", "NODE", "REASON"),
            [(each.delivery, each.state, each.name, str(each.size_bytes), each.node, each.reason)
             for each in one.deliveries],
        )  # fmt: skip
    if one.troubles:
        say("")
        print_table(
            ("TIME", "NODE", "EVENT", "WHAT"),
            [(time_text(each.at), each.node, str(each.event), each.text) for each in one.troubles],
        )


@transfers_app.command("run")
def transfers_run(
    id: Id,
    by: By = "",
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Have a transfer look for files now, whatever its schedule says."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        request = pb.RunTransferRequest(transfer=id, by=by or author())
        _steered(client.call(client.transfers.RunTransfer, request), output)


@transfers_app.command("pause")
def transfers_pause(
    id: Id,
    reason: Annotated[str, typer.Option(help="Why; shown in the list.")] = "",
    by: By = "",
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Have a transfer begin nothing until it is resumed; files on their way are finished.

    It stays paused through failovers and restarts.
    """
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        request = pb.PauseTransferRequest(transfer=id, by=by or author(), reason=reason)
        _steered(client.call(client.transfers.PauseTransfer, request), output)


@transfers_app.command("resume")
def transfers_resume(
    id: Id,
    by: By = "",
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Let a paused transfer go on; it looks for files at once."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        request = pb.ResumeTransferRequest(transfer=id, by=by or author())
        _steered(client.call(client.transfers.ResumeTransfer, request), output)


@transfers_app.command("cancel")
def transfers_cancel(
    id: Id,
    by: By = "",
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """End what a transfer is doing now. Nothing is lost: the next run finishes what this one left open."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        request = pb.CancelTransferRequest(transfer=id, by=by or author())
        _steered(client.call(client.transfers.CancelTransfer, request), output)


@transfers_app.command("watch")
def transfers_watch(
    id: Annotated[str, typer.Argument(metavar="[ID]", help="One transfer; all if not given.")] = "",
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Watch runs live: files, bytes and rates, of every instance. Ctrl-C ends it; JSON gives one line a change."""
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        changes = client.follow(client.transfers.WatchTransfers, pb.WatchTransfersRequest(transfer=id))
        try:
            (watch_json if output is Output.JSON else watch_table)(changes)
        except KeyboardInterrupt:
            pass


def deliveries(
    path: Annotated[
        str, typer.Option(metavar="GLOB", help="Source or destination path; without a slash only the name.")
    ] = "",
    transfer: Annotated[str, typer.Option(metavar="ID", help="Of this transfer.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="`2h`, `3d`, or ISO 8601 (`2026-11-22T18:00`).")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="As --since.")] = "",
    outcome: Annotated[Outcome | None, typer.Option(help="What became of the file.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="How many, newest first.")] = 100,
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Was it sent? Lists files with what became of them: when, as what, by which node, attempt and config version.

    Newest first. Delivered ones have the SHA-256 of what arrived.
    """
    from mft.pb.admin.v1 import admin_pb2 as pb

    request = pb.ListDeliveriesRequest(
        path=path,
        transfer=transfer,
        since=time_of(since, "--since", time.time()),
        until=time_of(until, "--until", time.time()),
        outcome=outcome.value if outcome else "",
    )
    found: list[Any] = []
    with connect_to(server, token_file, tls_ca) as client:
        while len(found) < limit:
            request.limit = min(1000, limit - len(found))
            answer = client.call(client.deliveries.ListDeliveries, request)
            found += answer.deliveries
            request.after = answer.next
            if not answer.next:
                break
    if output is Output.JSON:
        print_json([message_json(one) for one in found])
        return
    print_table(
        ("TIME", "OUTCOME", "TRANSFER", "FILE", "AS", "BYTES", "SHA-256", "NODE", "RUN", "TRY", "VERSION", "DELIVERY"),
        [_delivery(one) for one in found],
    )
    for one in found:
        if one.reason:
            say(f"{one.delivery}: {one.reason}")
    if request.after:
        sys.stderr.write(f"there are more; --limit is {limit}\n")


def resend(
    transfer: Annotated[str, typer.Argument(metavar="TRANSFER", help="The transfer's id.")],
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="As `transfers show` names it.")],
    by: By = "",
    server: Address = ADDRESS,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Send a held file again: one in quarantine, or one of which it is uncertain whether it arrived.

    Of an uncertain one look at the partner first: it may get the file a second time.
    """
    from mft.pb.admin.v1 import admin_pb2 as pb

    with connect_to(server, token_file, tls_ca) as client:
        request = pb.ResendDeliveryRequest(transfer=transfer, delivery=delivery, by=by or author())
        _steered(client.call(client.transfers.ResendDelivery, request), output)


def author() -> str:
    """Say who calls: the user on this host."""
    import getpass

    from mft.cli import options

    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # In a container the user may have a number alone.
        user = str(os.getuid())
    return f"{user}@{options.default_name()}"


def time_of(text: str, option: str, now: float) -> float:
    """Read a time: an age (`2h`) or ISO 8601, in the reader's zone where it names none. Returns seconds since 1970.

    Raises:
        Invalid: it is neither.
    """
    if not text:
        return 0.0
    if found := re.fullmatch(r"(\d{1,6})([smhdw])", text):
        return now - int(found[1]) * _UNITS[found[2]]
    try:
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except ValueError as error:
        raise Invalid(f"{option}: {text!r} is neither an age like 2h or 3d nor a time like 2026-11-22T18:00") from error


def _steered(answer: Any, output: Output) -> None:
    if output is Output.JSON:
        print_json(message_json(answer))
    else:
        say(answer.note)


def _in(at: float) -> str:
    if not at:
        return ""
    left = at - time.time()
    return "now" if left < 1 else f"in {left:.0f} s" if left < 120 else time_text(at)


def _open_text(one: Any) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(one.open.items()))


def _delivery(one: Any) -> tuple[str, ...]:
    return (
        time_text(one.at),
        one.outcome,
        one.transfer,
        one.source_path,
        one.destination_path,
        str(one.size_bytes),
        one.sha256[:12],
        one.node,
        str(one.run or ""),
        str(one.attempts),
        str(one.config_version or ""),
        one.delivery,
    )
