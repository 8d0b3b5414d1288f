"""A run as a table for people, and as one line for docs/reports/faults.jsonl."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.plan import never_hit, states_of
from tests.faults.trial import Options, Outcome, hits
from tests.faults.verdict import Verdict
from tests.rig.binaries import REPOSITORY

PATH = REPOSITORY / "docs" / "reports" / "faults.jsonl"
_SHOWN_MAX = 12


def show(options: Options, outcome: Outcome, console: Console) -> None:
    """Print the table."""
    result = "every file exactly once" if outcome.verdict.holds else "VIOLATED"
    title = f"{options.flow}, seed {options.seed}, {options.nodes} nodes, {options.etcd_members} etcd: "
    title += f"{outcome.produced} files, {len(outcome.faults)} faults: {result}"
    table = Table(title=title, title_justify="left")
    for column in ("fault", "times", "hit"):
        table.add_column(column, justify="right" if column == "times" else "left")
    for kind, met in sorted(_hits(outcome).items()):
        states = ", ".join(f"{state} {count}" for state, count in _known(met).items())
        table.add_row(kind, str(met.total()), states)
    table.add_section()
    for what, count in counts(outcome.verdict).items():
        table.add_row(what, str(count), "")
    if missed := never_hit(hits(outcome.faults), states_of(options.flow)):
        table.add_row("never hit", str(len(missed)), ", ".join(missed))
    table.add_row("noted as done", str(outcome.noted), "in the nodes' record files")
    table.add_row("seconds", f"{outcome.duration_s:.0f}", f"{outcome.drain_s:.1f} of them until all had drained")
    console.print(table)
    for what, values in details(outcome.verdict).items():
        for value in values[:_SHOWN_MAX]:
            console.print(f"  {what}: {value}", markup=False, highlight=False)


def counts(verdict: Verdict) -> dict[str, int]:
    """Count what the verdict lists."""
    return {"delivered": verdict.delivered} | {what: len(values) for what, values in details(verdict).items()}


def details(verdict: Verdict) -> dict[str, tuple[str, ...]]:
    """Give what the verdict lists, by what it means."""
    return {
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "not as produced": verdict.foreign,
        "out of order": verdict.disordered,
        "overwritten": verdict.overwritten,
        "ahead of their batch": verdict.early,
        "left at the partner": verdict.left.inbox,
        "left at the source": verdict.left.outgoing,
        "left in the journal": verdict.left.records,
        "trouble": verdict.trouble,
    }


def append(path: Path, options: Options, outcome: Outcome, commit: str) -> None:
    """Append one line; `commit` is what was there when the run began."""
    by_kind = _hits(outcome)
    line = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit,
        "seed": options.seed,
        "flow": options.flow,
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "load": round(os.getloadavg()[0], 1)},
        "nodes": options.nodes,
        "etcd": options.etcd_members,
        "names": options.names,
        "transfer": dict(options.transfer),
        "files": outcome.produced,
        "bytes": outcome.produced_bytes,
        "faults": {kind: states.total() for kind, states in sorted(by_kind.items())},
        "hit_by": {kind: by for kind, states in sorted(by_kind.items()) if (by := _known(states))},
        "hit": dict(sorted(Counter(each.hit.value for each in outcome.faults if each.hit).items())),
        "never_hit": never_hit(hits(outcome.faults), states_of(options.flow)),
        "skipped": dict(Counter(each.fault.kind for each in outcome.faults if each.skipped)),
        "duration_s": round(outcome.duration_s, 1),
        "drain_s": round(outcome.drain_s, 1),
        "noted": outcome.noted,
        "result": "holds" if outcome.verdict.holds else "violated",
        "counts": counts(outcome.verdict),
        "violations": {what: values[:_SHOWN_MAX] for what, values in details(outcome.verdict).items() if values},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _hits(outcome: Outcome) -> dict[str, Counter[str]]:
    """Count, for each kind, the states that it hit; the empty one where none was looked at."""
    found: dict[str, Counter[str]] = {}
    for each in outcome.faults:
        if not each.skipped:
            found.setdefault(each.fault.kind, Counter())[each.hit.value if each.hit else ""] += 1
    return found


def _known(states: Counter[str]) -> dict[str, int]:
    return {state: count for state, count in sorted(states.items()) if state}


def present_commit() -> str:
    """Name the commit, with a plus if the product differs from it."""
    git = ["git", "-C", str(REPOSITORY)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "mft"], capture_output=True, check=False)
    return head.stdout.strip() + ("+" if changed.returncode else "")
