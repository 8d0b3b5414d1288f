"""SSH algorithms that are offered, to clients and to partners alike.

Source: RFC 9142 and what programs of the last ten years speak. `modern` leaves out all that rests on SHA-1; `legacy`
adds it back for old appliances, for one listener or location, never for all.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Profile = Literal["modern", "legacy"]

KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp521",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp256",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
)
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
SIGNATURES = (
    "ssh-ed25519",
    "ssh-ed448",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
COMPRESSIONS = ("none", "zlib@openssh.com")
LEGACY_KEX = ("diffie-hellman-group14-sha1",)
LEGACY_MACS = ("hmac-sha1-etm@openssh.com", "hmac-sha1")
LEGACY_SIGNATURES = ("ssh-rsa",)


class Offer(NamedTuple):
    """What one side of a connection offers, best first."""

    kex: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    signatures: tuple[str, ...]
    compressions: tuple[str, ...]


def offer(profile: Profile) -> Offer:
    """Give what a profile offers."""
    if profile == "modern":
        return Offer(KEX, CIPHERS, MACS, SIGNATURES, COMPRESSIONS)
    return Offer(KEX + LEGACY_KEX, CIPHERS, MACS + LEGACY_MACS, SIGNATURES + LEGACY_SIGNATURES, COMPRESSIONS)
