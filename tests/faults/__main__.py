"""`python -m tests.faults --files N --faults M --seed S`: one run, its table, and its line in the report."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.faults import report
from tests.faults.field import FLOWS
from tests.faults.plan import MEMBERS, WEIGHTS, kinds_of
from tests.faults.trial import Options, Outcome, run_trial
from tests.rig.leaks import adopt_orphans


def main() -> int:
    """Run the program; the exit status is 1 if a file was not delivered exactly once."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--flow", choices=sorted(FLOWS), default="move")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--etcd", type=int, choices=(1, 3), default=1, help="how many members etcd has")
    parser.add_argument("--names", type=int, default=24, help="names that the producer uses; copy: 0 uses none twice")
    parser.add_argument("--transfer", type=json.loads, default={}, help="fields of the transfer to set, as JSON")
    parser.add_argument("--kind", action="append", choices=sorted(WEIGHTS), help="only faults of this kind; repeatable")
    parser.add_argument("--limit-s", type=float, default=4200.0, help="how long files and faults may take")
    parser.add_argument("--report", type=Path, default=report.PATH, help="file to which the result is appended")
    parser.add_argument("--keep", type=Path, help="folder for all that the programs write; it must not exist")
    given = parser.parse_args()
    if given.etcd == 1 and MEMBERS & set(given.kind or ()):
        parser.error(f"these kinds need --etcd 3: {', '.join(sorted(MEMBERS & set(given.kind)))}")
    options = Options(
        files=given.files,
        faults=given.faults,
        seed=given.seed,
        flow=given.flow,
        nodes=given.nodes,
        names=given.names,
        etcd_members=given.etcd,
        transfer=given.transfer,
        kinds=tuple(given.kind or kinds_of(given.etcd)),
        limit_s=given.limit_s,
    )
    adopt_orphans()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="mft-faults-"))
    commit = report.present_commit()
    outcome = asyncio.run(_run(folder, options))
    report.show(options, outcome, Console())
    report.append(given.report, options, outcome, commit)
    if outcome.verdict.holds and not given.keep:
        shutil.rmtree(folder)
    else:
        print(f"what the programs wrote is in {folder}")
    return 0 if outcome.verdict.holds else 1


async def _run(folder: Path, options: Options) -> Outcome:
    """Make the run; a signal ends it in order, for programs and mounted disks must not stay."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await run_trial(folder, options)


if __name__ == "__main__":
    sys.exit(main())
