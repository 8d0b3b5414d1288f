"""Command lines of our programs as they stand in files, judged by the programs' own parsers."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

REPOSITORY = Path(__file__).resolve().parents[3]
_PROGRAM = re.compile(r"(?:^|[\s(|/])(mft-(?:controller|node|admin|demo))(?=\s|$)")
_END = re.compile(r"\s(?:\d?>|<|\||&|\\|\)).*$|\)$|;.*$")


def program_options() -> dict[str, Any]:
    """Return program → its command as its own parser has it, for the programs that this checkout has."""
    scripts: dict[str, str] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    commands: dict[str, Any] = {}
    for name, target in scripts.items():
        module = target.partition(":")[0]
        if (REPOSITORY / (module.replace(".", "/") + ".py")).exists():
            commands[name] = typer.main.get_command(importlib.import_module(module).app)
    return commands


def parse(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Have the program's parser take the command line apart, without running anything. Raises what the parser does.

    `environment` are the variables that options may come from.
    """
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in (environment or {}).items():
            patch.setenv(variable, value)
        _parse(command)


def _parse(command: Sequence[str]) -> None:
    name = Path(command[0]).name
    arguments = list(command[1:])
    parser = program_options()[name]
    context = None
    while True:
        context = parser.make_context(name, arguments, parent=context)
        if not hasattr(parser, "commands"):
            return
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if not rest:
            return
        name, *arguments = rest
        assert name in parser.commands, f"{context.command_path} has no command {name!r}"
        parser = parser.commands[name]


def environment_names() -> dict[str, set[str]]:
    """Return program → the environment variables that its options can come from."""
    found: dict[str, set[str]] = {}
    for program, command in program_options().items():
        waiting, names = [command], set[str]()
        while waiting:
            one = waiting.pop()
            waiting += getattr(one, "commands", {}).values()
            for option in one.params:
                names |= {option.envvar} if isinstance(option.envvar, str) else set(option.envvar or ())
        found[program] = names
    return found


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the command lines of our programs in a shell script, without redirections and what stands after them."""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        for found in _PROGRAM.finditer(line):
            command = _END.sub("", line[found.start(1) :])
            yield shlex.split(command)
