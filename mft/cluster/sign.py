"""Ed25519 signatures: a controller's key signs what nodes accept; nodes hold only the public keys, pinned.

A signature is always over a purpose and the bytes, so that one made for a manifest is none for anything else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mft.errors import Invalid

KEY_BYTES = 32


class SigningKey:
    """A controller's private key. It never leaves the controller's data folder."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        self.id = key_id(self.public)

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key from the system's random source."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    def seed(self) -> bytes:
        """Return the private part, for its file alone."""
        return self._key.private_bytes_raw()

    def sign(self, purpose: str, payload: bytes) -> bytes:
        """Sign the payload for this purpose."""
        return self._key.sign(_message(purpose, payload))


class Trust:
    """The public keys that are believed. Several, so that a key can be replaced without a gap."""

    def __init__(self, public_keys: Iterable[bytes]) -> None:
        self.public_keys = tuple(public_keys)
        self._keys = {key_id(raw): Ed25519PublicKey.from_public_bytes(raw) for raw in self.public_keys}

    def verify(self, purpose: str, payload: bytes, signer: str, signature: bytes) -> None:
        """Return if the key `signer` is believed and has signed this; else raise `Invalid`."""
        key = self._keys.get(signer)
        if key is None:
            raise Invalid(f"signed with key {signer[:32]!r}, which is not trusted here", code="MFT-TRUST-1001")
        try:
            key.verify(signature, _message(purpose, payload))
        except InvalidSignature as error:
            raise Invalid(f"the signature of key {signer} does not fit the content", code="MFT-TRUST-1002") from error


def key_id(raw: bytes) -> str:
    """Name a key by its first 16 hexadecimal digits of SHA-256: enough to tell a cluster's few keys apart."""
    return hashlib.sha256(raw).hexdigest()[:16]


def to_text(raw: bytes) -> str:
    """Write bytes as base64."""
    return base64.b64encode(raw).decode()


def from_text(text: str, what: str) -> bytes:
    """Read base64 strictly; `what` names it in the error."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"{what} is not base64") from error


def public_key_of(text: str) -> bytes:
    """Read one public key as base64. Raises `Invalid`."""
    raw = from_text(text, "the public key")
    if len(raw) != KEY_BYTES:
        raise Invalid(f"a public key has {KEY_BYTES} bytes, this one {len(raw)}")
    return raw


def _message(purpose: str, payload: bytes) -> bytes:
    return b"mft\0" + purpose.encode() + b"\0" + payload
