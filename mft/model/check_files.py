"""What must hold of the files that a transfer names: its expressions can be read, its bounds leave something over."""

from __future__ import annotations

from collections.abc import Iterator

from mft.errors import Problem
from mft.model.check_values import relative_problem
from mft.model.config import Config
from mft.model.delivery import TAKEN_FOLDER
from mft.model.document import path_of
from mft.model.expressions import compile_expression
from mft.model.places import is_looked_into, is_source_folder
from mft.model.transfers import TransferSpec


def check_files(config: Config) -> Iterator[Problem]:
    """Say which expressions of transfers cannot be read, and which bounds can never be met."""
    for id, transfer in config.transfers.items():
        yield from _readable(transfer.source_filter, "transfers", id, "source_filter")
        for n, rule in enumerate(transfer.names):
            yield from _readable(rule.match, "transfers", id, "names", n, "match")
        for n, conversion in enumerate(transfer.conversions):
            yield from _readable(conversion.match, "transfers", id, "conversions", n, "match")
        if transfer.batch is not None and transfer.batch.marker:
            yield from _readable(transfer.batch.marker, "transfers", id, "batch", "marker")
        yield from _folders(config, id, transfer)
        if transfer.destination_fallback_path:
            yield from _fallback(config, transfer, "transfers", id, "destination_fallback_path")
        if transfer.delete_source and not transfer.resend_changed:
            message = "only of sources that are kept is anything remembered: set delete_source = false, or leave it out"
            yield Problem(path_of("transfers", id, "resend_changed"), message)
        if 0 < transfer.source_age_max_s <= transfer.source_age_min_s:
            message = "no file can be older than source_age_min_s and younger than this: make it longer, or 0 for none"
            yield Problem(path_of("transfers", id, "source_age_max_s"), message)


def _folders(config: Config, id: str, transfer: TransferSpec) -> Iterator[Problem]:
    """Say what is wrong with a transfer's folders: it must not find what it has delivered itself."""
    place = ("transfers", id)
    if transfer.delete_empty_folders_s and not transfer.recursive:
        message = "only folders that are looked into can be removed: set recursive = true, or leave this out"
        yield Problem(path_of(*place, "delete_empty_folders_s"), message)
    destination = (transfer.destination_location, transfer.destination_path)
    if transfer.recursive and is_looked_into(config, transfer, *destination):
        message = "lies below source_path, so with recursive = true its files would be sent again"
        yield Problem(path_of(*place, "destination_path"), message)
    elif not transfer.names and is_source_folder(config, transfer, *destination):
        message = "is the source folder, so each file would be sent again and again: choose another, or change names"
        yield Problem(path_of(*place, "destination_path"), message)


def _fallback(config: Config, transfer: TransferSpec, *place: str) -> Iterator[Problem]:
    """Say why a fallback folder can be of no use, or would have files sent again."""
    path = transfer.destination_fallback_path
    parts = path.split("/")
    if problem := relative_problem(path):
        yield Problem(path_of(*place), problem)
    elif path.startswith("/"):
        message = f"expected a folder below destination_path, such as `unsorted`, got {path!r}: name it from there"
        yield Problem(path_of(*place), message)
    elif any(part in ("", ".") or part.startswith(TAKEN_FOLDER) for part in parts):
        message = f"expected names with single slashes between them, none `.` or beginning with {TAKEN_FOLDER}"
        yield Problem(path_of(*place), f"{message}, got {path!r}")
    elif not transfer.recursive and not transfer.names:
        message = (
            "each file goes into destination_path itself, which must be there: a folder below it is needed only with "
            "recursive = true or rules for names, so leave this out"
        )
        yield Problem(path_of(*place), message)
    elif is_looked_into(config, transfer, transfer.destination_location, f"{transfer.destination_path}/{path}"):
        message = "what comes there would be sent again: choose a folder that is not one of the sources'"
        yield Problem(path_of(*place), message)


def _readable(expression: str, *place: str | int) -> Iterator[Problem]:
    try:
        compile_expression(expression)
    except ValueError as error:
        yield Problem(path_of(*place), str(error))
