"""Making of host keys, and their fingerprints. The controller makes them once; all nodes show the same."""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHPrivateKeyTypes,
    load_pem_private_key,
    load_ssh_private_key,
)

from mft.errors import Invalid

RSA_BITS = 3072


def make_host_keys() -> tuple[str, ...]:
    """Make one key of each kind that clients ask for, as OpenSSH PEM: ed25519, ecdsa-p256, and rsa for old ones."""
    keys: tuple[SSHPrivateKeyTypes, ...] = (
        Ed25519PrivateKey.generate(),
        generate_private_key(SECP256R1()),
        generate_rsa_key(65537, RSA_BITS),
    )
    return tuple(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode() for key in keys)


def public_line(pem: str) -> str:
    """Return the public half of a private host key as one line, `type base64`. Raises Invalid."""
    load = load_ssh_private_key if "OPENSSH PRIVATE KEY" in pem else load_pem_private_key
    try:
        key = load(pem.encode(), None)
        return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    except (ValueError, TypeError, UnsupportedAlgorithm, AttributeError) as error:
        raise Invalid("not an OpenSSH or PEM private key without passphrase") from error


def fingerprint(pem: str) -> str:
    """Return what clients show of a host key: `SHA256:` and the hash of its public half. Raises Invalid."""
    blob = base64.b64decode(public_line(pem).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
