"""The manual's page of programs and options, from their parsers: `python -m tests.unit.docs.command_reference`."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from typing import Any

from tests.unit.deploy.commands import program_options

_HEAD = """# Commands

Every option can also be given as the environment variable beside it; the option wins. `--help` says the same. Programs
end with these codes:

| exit | means |
| --- | --- |
| 0 | done |
| 1 | the input is wrong: `error: …`, then each problem on a line of its own with its path |
| 2 | the program was called in a wrong way |
| 3 | somebody else was faster, or what is asked for does not fit what is there |
| 4 | refused because of who asks |
| 5 | something that is needed cannot be reached |

`mft-admin … --output json` writes one JSON value to standard output; an error is one JSON object with code, message and
problems on standard error. `mft-admin --install-completion` teaches your shell its commands. The controller answers
gRPC reflection, so that generic gRPC clients can call what `proto/mft/admin/v1` defines.

This page is made from the programs by `python -m tests.unit.docs.command_reference`.
"""
_HIDDEN = {"--install-completion", "--show-completion", "--help"}
_ADMIN = {"--server", "--token-file", "--tls-ca", "--output"}


def page() -> str:
    """Write the page: one table for each program and command; the options that all of mft-admin share come once."""
    parts = [_HEAD]
    for name, program in program_options().items():
        if name == "mft-admin":
            apply = program.commands["config"].commands["apply"]
            shared = [option for option in apply.params if _name(option) in _ADMIN]
            parts.append("\n## mft-admin\n\nEvery command but `config check` has these:\n\n" + _rows(shared))
        parts += [_section(path, command) for path, command in _commands(name, program)]
    return "".join(parts)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    if not below or command.invoke_without_command:
        yield path, command
    for word, one in below.items():
        yield from _commands(f"{path} {word}", one)


def _section(path: str, command: Any) -> str:
    arguments = "".join(
        f" {one.metavar or one.name.upper()}" for one in command.params if one.param_type_name == "argument"
    )
    level = "###" if path.startswith("mft-admin") else "##"
    hidden = _ADMIN if path.startswith("mft-admin") else set()
    options = [one for one in command.params if one.param_type_name == "option" and _name(one) not in hidden | _HIDDEN]
    text = inspect.cleandoc(command.help or "")
    return f"\n{level} `{path}{arguments}`\n\n{text}\n" + ("\n" + _rows(options) if options else "")


def _rows(options: list[Any]) -> str:
    return "| option | | variable | default |\n| --- | --- | --- | --- |\n" + "".join(map(_row, options))


def _row(option: Any) -> str:
    names = ", ".join(f"`{word}`" for word in [*option.opts, *option.secondary_opts])
    help, _, said = (option.help or "").partition(" [default: ")
    default = option.default if not callable(option.default) else None
    shown = said.rstrip("]") or ("" if default in (None, "", False) else f"`{_plain(default)}`")
    needed = "must be given" if option.required else shown
    return f"| {names} | {help} | {f'`{option.envvar}`' if option.envvar else ''} | {needed} |\n"


def _plain(default: Any) -> str:
    return str(default) if isinstance(default, str) else json.dumps(default)


def _name(option: Any) -> str:
    return next((str(word) for word in option.opts if word.startswith("--")), "")


if __name__ == "__main__":
    sys.stdout.write(page())
