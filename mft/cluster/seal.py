"""Sealing secrets, so that neither etcd, its backups nor a node's disk hold one in clear.

AES-256-GCM under the cluster key. What a text is for is bound into it (cluster, place, key id), so a sealed text that
was moved to another account or another cluster does not open there. Written `sealed:v1:<key id>:<base64>`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mft.cluster.sign import from_text, key_id, to_text
from mft.errors import Invalid
from mft.model.check_values import KEPT
from mft.model.config import Config
from mft.model.walk import Place, component_path, rewrite

PREFIX = "sealed:v1:"
KEY_BYTES = 32
NONCE_BYTES = 12


class Sealer:
    """Seals with the first of the cluster's keys and opens with any of them."""

    def __init__(self, cluster: str, keys: Iterable[bytes]) -> None:
        self._cluster = cluster
        self.keys = tuple(keys)
        self._ciphers = {key_id(key): AESGCM(key) for key in self.keys}
        self._newest = key_id(self.keys[0])

    def seal(self, place: Place, clear: str) -> str:
        """Seal a text for the place where it stands."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, clear.encode(), self._bound(place, self._newest))
        return f"{PREFIX}{self._newest}:{to_text(nonce + sealed)}"

    def open(self, place: Place, text: str) -> str:
        """Return the clear text. Raises `Invalid` if it is of another key, place or cluster, or was tampered with."""
        key, _, body = text.removeprefix(PREFIX).partition(":")
        cipher = self._ciphers.get(key)
        if not is_sealed(text) or cipher is None:
            raise Invalid(f"{component_path(place)}: sealed with a key that is not here", code="MFT-SEAL-1001")
        raw = from_text(body, f"{component_path(place)}: the sealed text")
        try:
            return cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], self._bound(place, key)).decode()
        except (InvalidTag, ValueError) as error:
            raise Invalid(f"{component_path(place)}: sealed for another place", code="MFT-SEAL-1002") from error

    def open_config(self, config: Config) -> Config:
        """Open every secret of a config or a view. For the agent and its workers, never to be stored or shown."""
        return rewrite(config, "secret", lambda place, text: self.open(place, text) if text else text)

    def _bound(self, place: Place, key: str) -> bytes:
        return "\0".join(("mft-seal-v1", self._cluster, component_path(place), key)).encode()


def is_sealed(text: str) -> bool:
    """Say whether a text is a sealed secret."""
    return text.startswith(PREFIX)


def generate_key() -> bytes:
    """Make a new cluster key."""
    return os.urandom(KEY_BYTES)


def redact(config: Config) -> Config:
    """Return the config as it may be shown: a placeholder for each secret and password, sealed or not."""
    for kind in ("secret", "password"):
        config = rewrite(config, kind, lambda _, text: KEPT if text else text)
    return config
