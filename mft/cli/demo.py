"""`mft-demo`: the whole cluster on this machine, doing its main job while its leader is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shlex
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TextIO

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from mft.aio import first_error, is_only
from mft.cli.binaries import find_etcd, find_program
from mft.cli.demo_cluster import NODES, Cluster
from mft.cli.demo_moment import STATES, KillAt
from mft.cli.demo_partner import REMEDY
from mft.cli.demo_processes import adopt_orphans, end_orphans
from mft.cli.demo_story import DemoOptions, Outcome, Story
from mft.cli.demo_view import showing
from mft.errors import MftError, NotFound

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
FILES = 200

app = typer.Typer(
    add_completion=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


def main() -> None:
    """Run the program."""
    try:
        app()
    except MftError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None


@app.command()
def demo(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as one line of JSON; progress goes to standard error.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the cluster running afterwards, to try it by hand, until Ctrl-C.")
    ] = False,
    kill_at: Annotated[
        KillAt, typer.Option(help="What a delivery must be doing when its node is killed. any: chosen by the seed.")
    ] = KillAt.ANY,
    seed: Annotated[
        int | None, typer.Option(help="Decides sizes and contents of the files, and the moment. [default: random]")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Make so many runs, each with the next seed.")] = 1,
    files: Annotated[int, typer.Option(min=20, max=9999, hidden=True)] = FILES,
) -> None:
    """Show what the cluster does when its leader is killed.

    Starts etcd, a controller, two nodes and a partner's SFTP server in a temporary folder, uploads files through both
    nodes with OpenSSH's sftp, kills every process of the elected node while it delivers them, and counts what the
    partner received. Nothing is left behind. Exit code 1 if a file was lost or came twice.
    """
    _check_programs()
    adopt_orphans()
    if keep and runs > 1:
        raise typer.BadParameter("--keep and --runs exclude each other")
    began = time.monotonic()
    first = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    outcomes = []
    for number in range(runs):
        state = STATES[number % len(STATES)] if runs > 1 and kill_at is KillAt.ANY else kill_at
        options = DemoOptions(seed=first + number, kill_at=state, files=files)
        outcomes.append(_run(options, as_json=as_json, keep=keep, began=began))
        began = time.monotonic()
        if as_json and not keep:
            print(msgspec.json.encode(outcomes[-1]).decode(), flush=True)
    if runs > 1:
        _summarize(outcomes, first, sys.stderr if as_json else sys.stdout)
    if not all(outcome.is_good for outcome in outcomes):
        raise SystemExit(EXIT_FAILED)


def _check_programs() -> None:
    """Say at once what is missing on this machine."""
    try:
        find_etcd()
    except NotFound as error:
        raise NotFound(f"{error}; or {REMEDY}") from error
    for name in ("sshd", "ssh-keygen", "sftp"):
        find_program(name, REMEDY)


def _run(options: DemoOptions, *, as_json: bool, keep: bool, began: float) -> Outcome:
    """Make one run in a temporary folder, which is removed whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="mft-demo-"))
    try:
        return asyncio.run(_tell(options, folder, as_json=as_json, keep=keep, began=began))
    except BaseExceptionGroup as group:
        if not is_only(group, MftError):
            raise
        raise first_error(group) from None
    except asyncio.CancelledError:
        print("interrupted; all processes are ended and all files removed", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    finally:
        end_orphans()
        shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError("a run ends with an outcome or an error")


async def _tell(options: DemoOptions, folder: Path, *, as_json: bool, keep: bool, began: float) -> Outcome:
    """Make one run, showing it; with `keep` the cluster then goes on until Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    story = Story(options, folder, began)
    stream = sys.stderr if as_json else sys.stdout
    async with contextlib.AsyncExitStack() as lifetime:
        with showing(stream, story.counts, began) as view:
            outcome, cluster = await lifetime.enter_async_context(story.told(view))
            if keep:
                await story.mend(cluster, view)
            else:
                view.step("ending all processes and removing all files")
                await lifetime.aclose()
        if keep:
            if as_json:
                print(msgspec.json.encode(outcome).decode(), flush=True)
            print(_directions(cluster, folder), file=stream, flush=True)
            await asyncio.Event().wait()
    return outcome


def _directions(cluster: Cluster, folder: Path) -> str:
    """Say how to go on by hand."""
    admin = "mft-admin"
    logs = folder / "logs"
    groups = " ".join(f"-{program.pid}" for program in cluster.nodes.values())
    clients = "\n".join(f"  {shlex.join(cluster.customer.command(cluster.ports[node]))}" for node in NODES)
    return f"""
It goes on running. In another terminal:

  export MFT_ADMIN={cluster.admin} MFT_ADMIN_TOKEN_FILE={cluster.token_file} PATH={Path(sys.executable).parent}:$PATH
  {admin} status
  {admin} nodes list
  {admin} config show
  {admin} config apply {cluster.config_file}

Log in through either node; `put FILE {cluster.outgoing.name}/` sends a file to the partner:

{clients}

  ls {folder / "partner" / "taken"}     # what the partner has received, in this order
  tail -f {logs}/events-*.log     # what happened, as each node tells it
  ls {logs}     # what the programs said
  kill -9 -- {groups}     # nodes {" and ".join(cluster.nodes)}, each with all its processes: choose one

Ctrl-C ends everything and removes {folder}"""


def _summarize(outcomes: Sequence[Outcome], first_seed: int, stream: TextIO) -> None:
    """Show all runs in one table, and what they come to in one line."""
    table = Table("SEED", "KILLED AT", "IN FLIGHT", "UPLOADED", "DELIVERED", "LOST", "DUPLICATES", "FAILOVER", "READY",
                  box=box.SIMPLE_HEAD, pad_edge=False)  # fmt: skip
    for seed, run in enumerate(outcomes, first_seed):
        counts = (run.in_flight, run.uploaded, run.delivered, run.lost, run.duplicates)
        table.add_row(str(seed), run.killed_at, *map(str, counts), f"{run.failover_s:.2f} s", f"{run.ready_s:.1f} s")
    Console(file=stream, width=None if stream.isatty() else 120, highlight=False).print(table)
    summary = {
        "runs": len(outcomes),
        "good": sum(outcome.is_good for outcome in outcomes),
        "lost": sum(outcome.lost for outcome in outcomes),
        "duplicates": sum(outcome.duplicates for outcome in outcomes),
        "failover_s_most": max(outcome.failover_s for outcome in outcomes),
        "failover_s_median": round(statistics.median(outcome.failover_s for outcome in outcomes), 3),
        "killed_at": dict(sorted(Counter(outcome.killed_at for outcome in outcomes).items())),
    }
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    main()
