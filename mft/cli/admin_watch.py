"""How `mft-admin transfers watch` shows runs: a table that stays in place, or one line of JSON for each change."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from mft.cli.admin_output import message_json

_FILES_SHOWN = 20


def watch_json(changes: Iterable[Any]) -> None:
    """Write one line of JSON for each change."""
    for change in changes:
        sys.stdout.write(json.dumps(message_json(change), ensure_ascii=False) + "\n")
        sys.stdout.flush()


def watch_table(changes: Iterable[Any]) -> None:
    """Show the runs under way; on a terminal in place, else a table for each change."""
    from rich.console import Console
    from rich.live import Live

    console = Console() if sys.stdout.isatty() else Console(width=160)
    if not console.is_terminal:
        for change in changes:
            console.print(_table(change))
        return
    with Live(_table(None), console=console, refresh_per_second=4) as live:
        for change in changes:
            live.update(_table(change))


def _table(change: Any) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("TRANSFER", "INSTANCE", "FILES", "FAILED", "SENT", "RATE", "FILE", "", box=box.SIMPLE_HEAD)
    for run in change.runs if change else ():
        head = (
            run.transfer,
            run.instance,
            str(run.files_delivered),
            str(run.files_failed or ""),
            size_text(run.bytes_done),
            f"{size_text(run.rate_bytes_s)}/s",
        )
        files = [(file.name, _share(file)) for file in run.files[:_FILES_SHOWN]] or [("", "")]
        for number, file in enumerate(files):
            cells = (*(head if number == 0 else [""] * len(head)), *file)
            table.add_row(*(Text(cell) for cell in cells))
    if not table.row_count:
        table.add_row(Text("nothing is on its way"), *[""] * 7)
    return table


def _share(file: Any) -> str:
    if not file.size_bytes:
        return size_text(file.bytes_done)
    return f"{100 * file.bytes_done / file.size_bytes:.0f} % of {size_text(file.size_bytes)}"


def size_text(size_bytes: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"
