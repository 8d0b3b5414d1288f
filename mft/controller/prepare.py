"""An author's config → the config that is stored: passwords hashed, secrets sealed, host keys made where none is given.

What did not change keeps its earlier form to the byte, so that an unchanged config makes no new version, and one
changed account one new chunk. Pure but for random numbers; hashing blocks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from mft.auth import passwords
from mft.cluster.seal import Sealer, is_sealed
from mft.errors import Invalid, MftError, Problem
from mft.model.check import is_hashed
from mft.model.check_values import KEPT
from mft.model.config import Config
from mft.model.decode import invalid
from mft.model.document import path_of
from mft.model.walk import Kind, Place, component_path, rewrite


class _Earlier(NamedTuple):
    """Texts of one kind in the earlier config, by their exact place, and by place without position in a list."""

    exact: dict[Place, str]
    alike: dict[str, list[str]]

    @classmethod
    def of(cls, config: Config, kind: Kind) -> _Earlier:
        earlier = cls({}, defaultdict(list))

        def look(place: Place, text: str) -> str:
            earlier.exact[place] = text
            earlier.alike[component_path(place)].append(text)
            return text

        rewrite(config, kind, look)
        return earlier


def prepare(config: Config, earlier: Config, sealer: Sealer, make_host_keys: Callable[[], tuple[str, ...]]) -> Config:
    """Return the config as it is stored. Raises `Invalid` with every text that cannot be stored."""
    problems: list[Problem] = []
    config = _hash_passwords(config, _Earlier.of(earlier, "password"), problems)
    config = _add_host_keys(config, earlier, make_host_keys)
    config = _seal_secrets(config, _Earlier.of(earlier, "secret"), sealer, problems)
    if problems:
        raise invalid(problems)
    return config


def _hash_passwords(config: Config, earlier: _Earlier, problems: list[Problem]) -> Config:
    def stored(place: Place, text: str) -> str:
        try:
            return _stored_password(place, text, earlier)
        except Invalid as error:
            problems.append(Problem(path_of(*place), error.message))
            return text

    return rewrite(config, "password", stored)


def _stored_password(place: Place, text: str, earlier: _Earlier) -> str:
    if text == KEPT:
        return _kept(place, earlier)
    if is_hashed(text):
        if not passwords.is_hash(text):
            raise Invalid("looks like a hash, but is none that can be checked ($argon2id$, $5$ or $6$)")
        return text
    for hashed in earlier.alike.get(component_path(place), ()):
        if _fits(hashed, text):
            return hashed
    return passwords.hash_password(text)


def _fits(hashed: str, text: str) -> bool:
    try:
        return passwords.verify(hashed, text)
    except MftError:
        return False


def _seal_secrets(config: Config, earlier: _Earlier, sealer: Sealer, problems: list[Problem]) -> Config:
    def stored(place: Place, text: str) -> str:
        try:
            return _stored_secret(place, text, earlier, sealer)
        except Invalid as error:
            problems.append(Problem(path_of(*place), error.message))
            return text

    return rewrite(config, "secret", stored)


def _stored_secret(place: Place, text: str, earlier: _Earlier, sealer: Sealer) -> str:
    if not text:
        return text
    if text == KEPT:
        return _kept(place, earlier)
    if is_sealed(text):
        try:
            sealer.open(place, text)
        except Invalid as error:
            raise Invalid(
                "this sealed text is of another place or another cluster: give the secret in clear"
            ) from error
        return text
    for sealed in earlier.alike.get(component_path(place), ()):
        try:
            if sealer.open(place, sealed) == text:
                return sealed
        except Invalid:
            continue  # Sealed with a key that is gone: it is sealed anew.
    return sealer.seal(place, text)


def _kept(place: Place, earlier: _Earlier) -> str:
    if place not in earlier.exact:
        raise Invalid(f"{KEPT} keeps what is there, but there is nothing yet: give it in clear")
    return earlier.exact[place]


def _add_host_keys(config: Config, earlier: Config, make_host_keys: Callable[[], tuple[str, ...]]) -> Config:
    """Give each service without host keys those that it had, else new ones: a changed host key alarms every client."""
    services = dict(config.services)
    for id, service in services.items():
        if service.listener.host_keys:
            continue
        had = earlier.services[id].listener.host_keys if id in earlier.services else ()
        listener = msgspec.structs.replace(service.listener, host_keys=had or make_host_keys())
        services[id] = msgspec.structs.replace(service, listener=listener)
    return msgspec.structs.replace(config, services=services)
