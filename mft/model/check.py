"""What must hold between the components of a config, and within a value beyond its type.

`check` looks at a config as its author wrote it: passwords may still be in clear, secrets not yet sealed. Everything
wrong is found at once. What an author may have meant, but probably did not, is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mft.errors import Problem
from mft.model.check_conversions import check_conversions
from mft.model.check_files import check_files
from mft.model.check_leader_groups import check_leader_groups, warn_leader_groups
from mft.model.check_locations import check_locations, warn_locations
from mft.model.check_names import check_names
from mft.model.check_nodes import check_nodes
from mft.model.check_starts import check_starts
from mft.model.check_values import (
    KEPT,
    absolute_problem,
    address_problem,
    network_problem,
    private_key_problem,
    public_key_problem,
    relative_problem,
    secret_problem,
)
from mft.model.config import Config
from mft.model.decode import decode_leniently, did_you_mean
from mft.model.document import path_of
from mft.model.scope import WORDS
from mft.model.transfers import leader_group_of
from mft.model.view import SCOPED, VARIABLE
from mft.model.walk import Place, components_of, rewrite

HASH_PREFIXES = ("$argon2id$", "$5$", "$6$")
"""How a hashed password begins; anything else is a password in clear."""


class Findings(NamedTuple):
    """What `check` found: with problems the config is refused, warnings are only said."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def judge(document: Mapping[str, Any]) -> tuple[Config, Findings]:
    """Decode and check a parsed document in one go, so that its author sees all that is wrong at once.

    With problems the returned config lacks the components that do not decode: show the findings, use it for nothing.
    """
    problems: list[Problem] = []
    config = decode_leniently(document, problems)
    found = check(config, document)
    return config, Findings((*problems, *found.problems), found.warnings)


def check(config: Config, document: Mapping[str, Any] | None = None) -> Findings:
    """Say everything that is wrong with a config that decodes, and what looks unintended.

    A reference to a component that `document` has, but that did not decode, is not called dangling.
    """
    written = {family: set(ids) for family, ids in (document or {}).items() if isinstance(ids, Mapping)}
    problems = [problem for rule in _RULES for problem in rule(config)]
    problems += _dangling(config, written)
    problems += check_nodes(config, written)
    return Findings(tuple(dict.fromkeys(problems)), tuple(_warnings(config)))


def is_hashed(password: str) -> bool:
    """Say whether a password is given as a hash."""
    return password.startswith(HASH_PREFIXES)


def _accounts(config: Config) -> Iterator[Problem]:
    for id, account in config.accounts.items():
        if problem := absolute_problem(account.home_folder_path):
            yield _at(problem, "accounts", id, "home_folder_path")
        for n, line in enumerate(account.ssh_authorized_keys):
            if problem := public_key_problem(line):
                yield _at(problem, "accounts", id, "ssh_authorized_keys", n)


def _passwords(config: Config) -> Iterator[Problem]:
    problems: list[Problem] = []
    least = config.server.password_minimum_length

    def look(place: Place, password: str) -> str:
        if not is_hashed(password) and password != KEPT and len(password) < least:
            problems.append(_at(f"the password is too short: at least {least} characters", *place))
        return password

    rewrite(config, "password", look)
    yield from problems


def _listeners(config: Config) -> Iterator[Problem]:
    for id, service in config.services.items():
        listener = service.listener
        place = ("services", id, "listener")
        if problem := address_problem(listener.address):
            yield _at(problem, *place, "address")
        for n, network in enumerate(listener.proxy_trusted):
            if problem := network_problem(network):
                yield _at(problem, *place, "proxy_trusted", n)
        if listener.proxy_protocol != "off" and not listener.proxy_trusted:
            yield _at("PROXY protocol needs the addresses that may speak it", *place, "proxy_trusted")
        for n, key in enumerate(listener.host_keys):
            if problem := secret_problem(key, private_key_problem):
                yield _at(problem, *place, "host_keys", n)


def _transfers(config: Config) -> Iterator[Problem]:
    for id, transfer in config.transfers.items():
        for field in ("source_path", "destination_path"):
            if problem := relative_problem(getattr(transfer, field)):
                yield _at(problem, "transfers", id, field)
        if "/" in transfer.leader_group or not transfer.leader_group.isprintable():
            yield _at("expected a name without a slash", "transfers", id, "leader_group")


def _dangling(config: Config, written: Mapping[str, set[str]]) -> Iterator[Problem]:
    locations = [*config.locations, *written.get("locations", ())]
    for id, transfer in config.transfers.items():
        for field in ("source_location", "destination_location"):
            name = getattr(transfer, field)
            if name not in locations:
                yield _at(f"there is no location {name!r}{did_you_mean(name, locations)}", "transfers", id, field)
        archive = transfer.archive.location if transfer.archive is not None else ""
        if archive and archive not in locations:
            message = f"there is no location {archive!r}{did_you_mean(archive, locations)}"
            yield _at(message, "transfers", id, "archive", "location")


def _leader_groups(config: Config) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for id, transfer in config.transfers.items():
        group = leader_group_of(id, transfer)
        other = first.setdefault(group, id)
        if config.transfers[other].run_on != transfer.run_on:
            message = f"all transfers of leader group {group!r} must agree, but transfers.{other} says otherwise"
            yield _at(message, "transfers", id, "run_on")


def _event_handlers(config: Config) -> Iterator[Problem]:
    for id, handler in config.event_handlers.items():
        if problem := absolute_problem(handler.path):
            yield _at(problem, "event-handlers", id, "path")


def _run_on(config: Config) -> Iterator[Problem]:
    for family in SCOPED:
        for id, spec in components_of(config, family).items():
            if isinstance(spec.run_on, str) and spec.run_on not in WORDS:
                words = ", ".join(f'"{word}"' for word in WORDS)
                message = f"expected {words}, a list of names or {{labels = …}}, got {spec.run_on!r}"
                yield _at(message, family, id, "run_on")


def _variables(config: Config) -> Iterator[Problem]:
    known = {"host.name"}
    for node in config.nodes.values():
        known |= {f"node.label.{key}" for key in node.labels} | {f"node.var.{key}" for key in node.variables}
    problems: list[Problem] = []

    def look(place: Place, text: str) -> str:
        if "{" in text:
            unknown = (name for name in VARIABLE.findall(text) if name not in known)
            problems.extend(_at(f"there is no variable {{{name}}}", *place) for name in unknown)
        return text

    rewrite(config, "plain", look)
    yield from problems


def _warnings(config: Config) -> Iterator[Problem]:
    for id, account in config.accounts.items():
        if account.enabled and account.password is None and not account.ssh_authorized_keys:
            yield _at("has neither a password nor a key: nobody can log in to it", "accounts", id)
    yield from warn_locations(config)
    yield from warn_leader_groups(config)


def _at(message: str, *path: str | int) -> Problem:
    return Problem(path_of(*path), message)


_RULES: tuple[Callable[[Config], Iterator[Problem]], ...] = (
    _accounts,
    _passwords,
    _listeners,
    check_locations,
    _transfers,
    _leader_groups,
    _event_handlers,
    _run_on,
    _variables,
    check_files,
    check_names,
    check_conversions,
    check_leader_groups,
    check_starts,
)
