"""What must hold within a location: folders, host keys, and the way to a partner's server."""

from __future__ import annotations

from collections.abc import Iterator

from mft.errors import Problem
from mft.model.check_values import absolute_problem, host_key_problem, private_key_problem, secret_problem
from mft.model.config import Config
from mft.model.document import path_of
from mft.model.locations import LocalLocationSpec, ProxySpec, SshLocationSpec

_SOCKS_LOGIN_BYTES_MAX = 255
"""Of name and password each, by RFC 1929."""


def check_locations(config: Config) -> Iterator[Problem]:
    """Yield what makes a location unusable."""
    for id, location in config.locations.items():
        place = ("locations", id)
        match location:
            case LocalLocationSpec():
                if problem := absolute_problem(location.root):
                    yield _at(problem, *place, "root")
            case SshLocationSpec():
                yield from _server(location, place)


def warn_locations(config: Config) -> Iterator[Problem]:
    """Yield what is probably not meant."""
    for id, location in config.locations.items():
        if isinstance(location, SshLocationSpec) and location.password is None and location.private_key is None:
            yield _at("has neither a password nor a private key: no server will let it in", "locations", id)


def _server(location: SshLocationSpec, place: tuple[str, ...]) -> Iterator[Problem]:
    if not location.host_keys:
        yield _at("give at least one key or fingerprint of the server", *place, "host_keys")
    for n, key in enumerate(location.host_keys):
        if problem := host_key_problem(key):
            yield _at(problem, *place, "host_keys", n)
    if location.private_key and (problem := secret_problem(location.private_key, private_key_problem)):
        yield _at(problem, *place, "private_key")
    if problem := _host_problem(location.address):
        yield _at(problem, *place, "address")
    if location.proxy is not None:
        yield from _proxy(location.proxy, (*place, "proxy"))


def _proxy(proxy: ProxySpec, place: tuple[str, ...]) -> Iterator[Problem]:
    if problem := _host_problem(proxy.address):
        yield _at(problem, *place, "address")
    if proxy.password is not None and not proxy.username:
        yield _at("a password needs a username: give both, or neither", *place, "username")
    if proxy.kind == "http" and ":" in proxy.username:
        yield _at("an HTTP proxy's username cannot hold a colon", *place, "username")
    if proxy.kind == "socks5":
        if proxy.username and proxy.password is None:
            yield _at("a SOCKS 5 login needs a password too: give both, or neither", *place, "password")
        if problem := _too_long(proxy.username):
            yield _at(problem, *place, "username")
        if proxy.password and (problem := secret_problem(proxy.password, _too_long)):
            yield _at(problem, *place, "password")


def _too_long(text: str) -> str:
    longest = _SOCKS_LOGIN_BYTES_MAX
    return f"SOCKS 5 knows names and passwords of at most {longest} bytes" if len(text.encode()) > longest else ""


def _host_problem(address: str) -> str:
    """Judge a host name or an address to connect to."""
    if not address.strip():
        return "expected a host name or an address"
    if "{" in address:
        return ""
    if "://" in address or "/" in address or address != address.strip() or " " in address:
        return f"expected a host name or an address alone, got {address!r}"
    if address.startswith("["):
        return f"write an IPv6 address without brackets, got {address!r}"
    return ""


def _at(message: str, *path: str | int) -> Problem:
    return Problem(path_of(*path), message)
