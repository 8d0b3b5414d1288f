"""What must hold of the texts that a transfer makes names, paths and commands of: known placeholders, usable names."""

from __future__ import annotations

from collections.abc import Iterator

from mft.errors import Problem
from mft.model.check_values import relative_problem
from mft.model.config import Config
from mft.model.decode import did_you_mean
from mft.model.document import path_of
from mft.model.placeholders import COMMAND_PLACEHOLDERS, NAME_PLACEHOLDERS, parse_step, unknown_placeholders
from mft.model.places import is_looked_into
from mft.model.transfer_parts import ArchiveSpec, CommandsSpec, NameRule
from mft.model.transfers import TransferSpec

_TEMP_PART_LENGTH_MAX = 100
"""Characters of a temp name's beginning or end: what stands between them takes 60, and a name has 255."""
_PROGRAMS = ("before", "after_success", "after_failure")
_STEPS = ("remote_before", "remote_after", "remote_after_failure")


def check_names(config: Config) -> Iterator[Problem]:
    """Say which names, paths and commands of transfers cannot be made."""
    for id, transfer in config.transfers.items():
        place = ("transfers", id)
        for n, rule in enumerate(transfer.names):
            if problem := _rule_problem(rule):
                yield Problem(path_of(*place, "names", n, "template"), problem)
        for field in ("temporary_prefix", "temporary_suffix"):
            if problem := _temp_problem(getattr(transfer, field)):
                yield Problem(path_of(*place, field), problem)
        if transfer.archive is not None:
            yield from _archive(config, transfer, transfer.archive, *place, "archive")
        if transfer.commands is not None:
            yield from _commands(transfer.commands, *place, "commands")


def _rule_problem(rule: NameRule) -> str:
    needs_template = rule.action in {"template", "fixed-path", "replace-separator"}
    if needs_template and not rule.template:
        return f"the action {rule.action} needs a template"
    if rule.template and not needs_template:
        return f"the action {rule.action} uses no template: leave it out, or use the action template"
    if rule.action == "fixed-path":
        if rule.template.startswith("/"):
            return f"expected a path under the destination folder, got {rule.template!r}"
        return relative_problem(rule.template)
    if rule.action == "template":
        for name in unknown_placeholders(rule.template, NAME_PLACEHOLDERS, groups=True):
            return f"there is no placeholder {{{name}}}{did_you_mean(name, sorted(NAME_PLACEHOLDERS))}"
    return ""


def _temp_problem(text: str) -> str:
    if "/" in text or "\0" in text:
        return "a part of a name cannot hold a slash or a null character"
    if len(text) > _TEMP_PART_LENGTH_MAX:
        return f"at most {_TEMP_PART_LENGTH_MAX} characters"
    return ""


def _archive(config: Config, transfer: TransferSpec, archive: ArchiveSpec, *place: str) -> Iterator[Problem]:
    if not archive.path and not archive.failure_path:
        yield Problem(path_of(*place), "give a path, a failure_path or both: else nothing is archived")
    location = archive.location or transfer.source_location
    for field in ("path", "failure_path"):
        path: str = getattr(archive, field)
        if path and (problem := relative_problem(path)):
            yield Problem(path_of(*place, field), problem)
        elif path and is_looked_into(config, transfer, location, path):
            message = "what is archived there would be sent again: choose a folder that is not below source_path"
            yield Problem(path_of(*place, field), message)
    if archive.retention_days and archive.name == "exact":
        message = "retention needs the name `timestamp`: only such names say when a file was archived"
        yield Problem(path_of(*place, "retention_days"), message)


def _commands(commands: CommandsSpec, *place: str) -> Iterator[Problem]:
    for field in _PROGRAMS:
        words: tuple[str, ...] = getattr(commands, field)
        if words and not words[0]:
            yield Problem(path_of(*place, field, 0), "expected a program")
        for n, word in enumerate(words):
            yield from _placeholders(word, *place, field, n)
    for field in _STEPS:
        for n, text in enumerate(getattr(commands, field)):
            try:
                parse_step(text)
            except ValueError as error:
                yield Problem(path_of(*place, field, n), str(error))
            yield from _placeholders(text, *place, field, n)


def _placeholders(text: str, *place: str | int) -> Iterator[Problem]:
    for name in unknown_placeholders(text, COMMAND_PLACEHOLDERS):
        message = f"there is no placeholder {{{name}}}{did_you_mean(name, sorted(COMMAND_PLACEHOLDERS))}"
        yield Problem(path_of(*place), message)
