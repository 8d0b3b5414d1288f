"""How `mft-admin` shows what it got: tables for people, JSON with stable names for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mft.errors import Problem


class Output(StrEnum):
    """Form of what is written to standard output."""

    TABLE = "table"
    JSON = "json"


def message_json(message: Any) -> dict[str, Any]:
    """Turn an answer into what JSON can hold, with the names of the .proto and every field present."""
    result: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            result[field.name] = dict(sorted(value.items()))
        elif field.message_type is not None:
            result[field.name] = [message_json(item) for item in value] if _repeats(field) else message_json(value)
        else:
            result[field.name] = list(value) if _repeats(field) else value
    return result


def print_json(value: Any) -> None:
    """Write one JSON value."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table; in a pipe as wide as its content, so that nothing is cut off."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        # As Text, because a name in square brackets is no markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=500)
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n")


def say(line: str) -> None:
    """Write one line for people."""
    sys.stdout.write(line + "\n")


def warn(problems: Iterable[Problem]) -> None:
    """Write warnings, one a line, to standard error."""
    for problem in problems:
        sys.stderr.write(f"warning: {problem}\n")


def time_text(seconds: float) -> str:
    """Write a time in the reader's zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %z") if seconds else ""


def _repeats(field: Any) -> bool:
    return bool(field.is_repeated)
