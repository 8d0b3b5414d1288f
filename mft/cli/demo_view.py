"""What the demo shows while it runs: live bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_LINE_EVERY_S = 1.0
_REFRESH_PER_S = 8
_BAR_COLUMNS = 50


class Counts(NamedTuple):
    """How far the run is."""

    total: int
    uploaded: int = 0
    delivered: int = 0
    nodes: tuple[tuple[str, str], ...] = ()
    """Each node's name and what it is doing."""


class View(Protocol):
    """Where the run says what happens."""

    def step(self, text: str) -> None:
        """Say one sentence; it stays."""
        ...

    def moved(self) -> None:
        """The counts have changed."""
        ...


class _Lines:
    """Plain lines: each step, and the counts about once a second."""

    def __init__(self, console: Console, counts: Callable[[], Counts], began: float) -> None:
        self._console = console
        self._counts = counts
        self._began = began
        self._said_at = began

    def step(self, text: str) -> None:
        """Say one sentence."""
        self._console.print(Text(f"{time.monotonic() - self._began:6.1f} s  {text}"))

    def moved(self) -> None:
        """Say the counts, if that is some time ago."""
        now = time.monotonic()
        if now - self._said_at >= _LINE_EVERY_S:
            self._said_at = now
            counts = self._counts()
            self.step(f"uploaded {counts.uploaded}, delivered {counts.delivered} of {counts.total}")


class _Bars:
    """Live bars below the steps."""

    def __init__(self, console: Console, counts: Callable[[], Counts], began: float) -> None:
        self._console = console
        self._counts = counts
        self._began = began

    def step(self, text: str) -> None:
        """Say one sentence above the bars."""
        self._console.print(Text(f"{time.monotonic() - self._began:6.1f} s  {text}"))

    def moved(self) -> None:
        """Do nothing: the bars look for themselves."""

    def __rich__(self) -> RenderableType:
        counts = self._counts()
        bars = Table.grid(padding=(0, 2))
        for name, done in (("uploaded", counts.uploaded), ("delivered", counts.delivered)):
            bar = ProgressBar(total=counts.total, completed=done, width=_BAR_COLUMNS)
            bars.add_row(Text(name), bar, Text(f"{done} of {counts.total}"))
        for name, state in counts.nodes:
            bars.add_row(Text(f"node {name}"), Text(state, style=_style(state)))
        return Group(Text(), bars)


@contextmanager
def showing(stream: TextIO, counts: Callable[[], Counts], began: float) -> Iterator[View]:
    """Show on the stream how far `counts` is, for as long as the block runs; `began` is on the monotonic clock."""
    if not stream.isatty():
        yield _Lines(Console(file=stream, width=500, highlight=False), counts, began)
        return
    console = Console(file=stream, highlight=False)
    bars = _Bars(console, counts, began)
    with Live(bars, console=console, refresh_per_second=_REFRESH_PER_S, redirect_stdout=False, redirect_stderr=False):
        yield bars


def _style(state: str) -> str:
    if state.startswith("killed"):
        return "bold red"
    return "bold green" if state.startswith("leads") else ""
