"""What must hold of the files that a transfer names: its expressions can be read, its bounds leave something over."""

from __future__ import annotations

from collections.abc import Iterator

from mft.errors import Problem
from mft.model.config import Config
from mft.model.document import path_of
from mft.model.expressions import compile_expression


def check_files(config: Config) -> Iterator[Problem]:
    """Say which expressions of transfers cannot be read, and which bounds can never be met."""
    for id, transfer in config.transfers.items():
        yield from _readable(transfer.source_filter, "transfers", id, "source_filter")
        for n, rule in enumerate(transfer.names):
            yield from _readable(rule.match, "transfers", id, "names", n, "match")
        if transfer.batch is not None and transfer.batch.marker:
            yield from _readable(transfer.batch.marker, "transfers", id, "batch", "marker")
        if 0 < transfer.source_age_max_s <= transfer.source_age_min_s:
            message = "no file can be older than source_age_min_s and younger than this: make it longer, or 0 for none"
            yield Problem(path_of("transfers", id, "source_age_max_s"), message)


def _readable(expression: str, *place: str | int) -> Iterator[Problem]:
    try:
        compile_expression(expression)
    except ValueError as error:
        yield Problem(path_of(*place), str(error))
