"""What a single text must be beyond being a text: an absolute path, a public key, a network.

Each function says what is wrong, empty if nothing is. A text with a variable in it is judged where its value is known.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable

SEALED_PREFIX = "sealed:"
"""How a sealed secret begins. Such a text is judged by the controller, which has the key."""

KEPT = "***"
"""Stands for a secret or a password in what is shown. Applied again it means: keep the one that is there."""

KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-ed448",
    }
)
"""Public keys that a client may log in with or a partner may show."""


def absolute_problem(path: str) -> str:
    """Judge a path that must be absolute."""
    if path.startswith("{"):
        return ""
    if not path.startswith("/"):
        return f"expected an absolute path, got {path!r}"
    return relative_problem(path)


def relative_problem(path: str) -> str:
    """Judge a path that may be relative: it must not climb out of its root."""
    if "\0" in path:
        return "a path cannot hold a null character"
    if not path:
        return "expected a path"
    return "a path with `..` in it is not accepted" if ".." in path.split("/") else ""


def public_key_problem(line: str) -> str:
    """Judge one line of OpenSSH's authorized_keys, without options."""
    words = line.split()
    if not words or words[0] not in KEY_TYPES:
        return "expected a public key such as `ssh-ed25519 AAAA… comment`"
    if len(words) < 2:
        return "the key's data is missing"
    if "\n" in line.strip():
        return "expected one key on one line"
    try:
        blob = base64.b64decode(words[1], validate=True)
    except ValueError:  # Not binascii.Error alone: a character that is no ASCII, as in `AAAA…`, is another one.
        return "the key's data is not base64"
    size = int.from_bytes(blob[:4], "big")
    # The data begins with the key's type once more (RFC 4253 section 6.6); then at least one more string follows.
    if len(blob) < 8 or blob[4 : 4 + size] != words[0].encode() or len(blob) <= 4 + size + 4:
        return f"the key's data is cut off or not of type {words[0]}"
    return ""


def host_key_problem(text: str) -> str:
    """Judge a server's public key or its fingerprint."""
    if not text.startswith("SHA256:"):
        if text.split(" ", 1)[0] in KEY_TYPES:
            return public_key_problem(text)
        return "expected a public key (`ssh-ed25519 AAAA…`) or a fingerprint (`SHA256:…`)"
    try:
        digest = base64.b64decode(text.removeprefix("SHA256:").rstrip("=") + "=", validate=True)
    except ValueError:
        digest = b""
    return "" if len(digest) == 32 else "the fingerprint is not the base64 of a SHA-256"


def private_key_problem(text: str) -> str:
    """Judge the frame of a private key; what is in it is judged where it is used."""
    lines = text.strip().splitlines()
    if len(lines) < 3 or not lines[0].startswith("-----BEGIN ") or not lines[-1].startswith("-----END "):
        return "expected a private key (`-----BEGIN … PRIVATE KEY-----`)"
    return "a private key with a passphrase cannot be used" if "ENCRYPTED" in text else ""


def secret_problem(text: str, problem_of: Callable[[str], str]) -> str:
    """Judge a secret by `problem_of`, unless it is sealed, or kept as it is."""
    return "" if text == KEPT or text.startswith(SEALED_PREFIX) else problem_of(text)


def address_problem(address: str) -> str:
    """Judge an address to listen on."""
    if "{" in address:
        return ""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return f"expected an IP address to listen on, got {address!r}"
    return ""


def network_problem(text: str) -> str:
    """Judge an address or a network."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        return f"expected an address or a network (CIDR): {error}"
    return ""
