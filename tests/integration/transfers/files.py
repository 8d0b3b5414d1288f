"""What tests of single options look at: whole folders, and what was told."""

from __future__ import annotations

from pathlib import Path

from mft.events import catalogue
from tests.integration.transfers.conftest import Bench


def tree(folder: Path) -> dict[str, bytes]:
    """Return path → content of all files below a folder but hidden ones directly in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    paths = {str(path.relative_to(folder)): path for path in files}
    return {name: path.read_bytes() for name, path in sorted(paths.items()) if not name.startswith(".")}


def told(bench: Bench, event: int) -> int:
    """Count how often an event was emitted."""
    return [id for id, _ in bench.events].count(event)


def reasons(bench: Bench) -> list[str]:
    """Return why files failed."""
    return [str(fields["reason"]) for id, fields in bench.events if id == catalogue.FILE_FAILED_WILL_RETRY]
