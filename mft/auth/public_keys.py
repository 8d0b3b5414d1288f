"""Public keys as their wire form: two lines mean the same key exactly when these bytes are equal.

Source: sshd(8) AUTHORIZED_KEYS FILE FORMAT, RFC 4253 §6.6.
"""

from __future__ import annotations

import base64
import binascii

from mft.errors import Invalid

TYPES = (
    "ssh-ed25519",
    "ssh-ed448",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
"""Key types that an account may log in with. `ssh-rsa` names the key; it is used with SHA-2 signatures."""


def parse_public_key(line: str) -> bytes:
    """Return the wire form of one public key line, `type base64 [comment]`. Options are not allowed. Raises Invalid."""
    parts = line.split(None, 2)
    if len(parts) < 2:
        raise Invalid("a public key is one line: type, base64, and a comment if you like")
    kind, encoded = parts[0], parts[1]
    if kind not in TYPES:
        raise Invalid(f"'{kind[:40]}' is not a public key type known here; one of {', '.join(TYPES)}")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"the {kind} key is not valid base64") from error
    # The blob names its own type first; a mismatch means that the line was pasted together wrongly.
    size = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + size] != kind.encode() or len(blob) <= 4 + size:
        raise Invalid(f"the {kind} key's data does not belong to a key of that type, or is cut off")
    return blob
