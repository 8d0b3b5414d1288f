"""How agents find the controllers, and how both prove who they are. Pure but for the making of keys.

    controllers/<name>   {cluster, name, boot, addresses, port, certificate, …}, signed with the cluster's signing key

The controller makes a TLS certificate at each start and keeps its key in memory; the signed value in etcd says which
one it is, so nobody else can answer for a controller, not even who may write to etcd. The agent proves itself with the
key that it joined with: an HMAC under what that key and one made for the stream alone have in common. Which key belongs
to a name stands in the signed answer under `join/`.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec import Struct

from mft.cluster.sign import SigningKey, Trust, from_text, to_text
from mft.errors import Denied, Invalid

PURPOSE = "link"
SERVER_NAME = "mft-controller-link"
"""The name in every controller's certificate: what counts is that it is the one announced, not where it is shown."""
_CERTIFICATE_DAYS = 3650
"""Longer than any controller runs without a restart, which makes a new one."""


class Announcement(Struct, frozen=True, kw_only=True):
    """What a controller says of itself under `controllers/<name>`."""

    cluster: str
    name: str
    boot: str
    """Random id of this start."""
    program: str
    addresses: tuple[str, ...]
    """Host names or addresses, to be tried in this order."""
    port: int
    certificate: str
    """PEM."""


class Certificate(NamedTuple):
    """A TLS certificate with its key, as PEM."""

    certificate: bytes
    key: bytes


def announce(announcement: Announcement, key: SigningKey) -> bytes:
    """Write the value for etcd, signed."""
    payload = msgspec.json.encode(announcement, order="sorted")
    return payload + b"\n" + f"{key.id} {to_text(key.sign(PURPOSE, payload))}\n".encode()


def read_announcement(data: bytes, cluster: str, name: str, trust: Trust) -> Announcement:
    """Read what stands at `controllers/<name>`. Raises `Invalid`: forged, damaged, or of another controller."""
    payload, _, trailer = data.partition(b"\n")
    words = trailer.decode("ascii", "replace").split()
    if len(words) != 2:
        raise Invalid(f"what controller {name} says of itself is damaged", code="MFT-TRUST-1004")
    trust.verify(PURPOSE, payload, words[0], from_text(words[1], "the signature"))
    try:
        announcement = msgspec.json.decode(payload, type=Announcement)
    except msgspec.DecodeError as error:
        raise Invalid(
            f"what controller {name} says of itself cannot be read: {error}", code="MFT-TRUST-1004"
        ) from error
    if (announcement.cluster, announcement.name) != (cluster, name):
        raise Invalid(f"controller {name} is announced with what another one said", code="MFT-TRUST-1003")
    return announcement


def make_certificate(now: datetime | None = None) -> Certificate:
    """Make a certificate that is its own authority, for one run of a controller."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
    now = now or datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=7))  # Clocks of machines differ.
        .not_valid_after(now + timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(made.public_bytes(Encoding.PEM), private)


class Claim(NamedTuple):
    """Who an agent says it is; all of it is part of the proof."""

    cluster: str
    name: str
    role: str
    boot: str
    spool: str
    certificate: bytes
    """The one that the controller showed, as PEM: the proof serves for no other."""

    def proof(self, own: X25519PrivateKey, other: bytes, node_key: bytes, challenge: bytes) -> bytes:
        """Return the proof. `own` and `other` are one side's private key and the other side's public one.

        Raises:
            Denied: the other side's key is none.
        """
        try:
            shared = own.exchange(X25519PublicKey.from_public_bytes(other))
        except ValueError as error:
            raise Denied("the other side's key is none") from error
        key = HKDF(hashes.SHA256(), 32, None, b"mft-link-v1").derive(shared)
        words = (self.cluster, self.name, self.role, self.boot, self.spool)
        said = b"\0".join((*(word.encode("utf-8", "surrogateescape") for word in words), self.certificate))
        return hmac.digest(key, hashlib.sha256(said).digest() + node_key + challenge, "sha256")


def proves(given: bytes, expected: bytes) -> bool:
    """Compare two proofs in constant time."""
    return hmac.compare_digest(given, expected)
