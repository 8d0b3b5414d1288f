"""A version of the config: an immutable, signed manifest that names the chunks of its content.

Written as two lines, so that it can be read with `etcdctl get`: the manifest as canonical JSON, then key id and
signature. The signature is over the first line as it stands, so nothing is ever encoded again to be checked.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Struct

from mft.cluster.buckets import BUCKETS_MAX
from mft.cluster.sign import SigningKey, Trust, from_text, to_text
from mft.errors import Invalid

FORMAT = 1
PURPOSE = "manifest"
MANIFEST_BYTES_MAX = 1400 * 1024

_ENCODER = msgspec.json.Encoder(order="sorted")


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a version is. Never changed once written."""

    format: int = FORMAT
    cluster: str
    incarnation: str
    """Life of the store for which it was published."""
    version: int
    """Grows by every publication, also where older content comes back."""
    parent: int
    """The version that its author had before him; 0 for the first."""
    author: str
    time: float
    """When it was published, seconds since 1970."""
    comment: str = ""
    program_least: str
    """The oldest program that can use it."""
    components: int
    buckets: tuple[str, ...]
    key_id: str


class Signed(NamedTuple):
    """A manifest that was verified, with the bytes that prove it."""

    manifest: Manifest
    data: bytes


def sign(manifest: Manifest, key: SigningKey) -> Signed:
    """Sign a manifest; it must name the key."""
    assert manifest.key_id == key.id, "a manifest names the key that signs it"
    payload = _ENCODER.encode(manifest)
    return Signed(manifest, payload + b"\n" + f"{key.id} {to_text(key.sign(PURPOSE, payload))}\n".encode())


def verify(data: bytes, trust: Trust, cluster: str) -> Signed:
    """Read a manifest after its signature was found good. Raises `Invalid`, saying what is wrong."""
    payload, _, trailer = data.partition(b"\n")
    words = trailer.decode("ascii", "replace").split()
    if len(data) > MANIFEST_BYTES_MAX or len(words) != 2:
        raise Invalid("the manifest is damaged", code="MFT-CONFIG-1008")
    trust.verify(PURPOSE, payload, words[0], from_text(words[1], "the manifest's signature"))
    # Before the strict reading, so that a newer form is told as such and not as an unknown field.
    try:
        if (format := msgspec.json.decode(payload, type=_Format).format) != FORMAT:
            raise Invalid(f"the manifest has format {format}; this program knows {FORMAT}", code="MFT-CONFIG-1009")
        manifest = msgspec.json.decode(payload, type=Manifest)
    except msgspec.DecodeError as error:
        raise Invalid(f"the manifest cannot be read: {error}", code="MFT-CONFIG-1008") from error
    if manifest.cluster != cluster:
        raise Invalid(f"the manifest is of cluster {manifest.cluster!r}, not {cluster!r}", code="MFT-TRUST-1003")
    if manifest.key_id != words[0] or manifest.version < 1 or len(manifest.buckets) > BUCKETS_MAX:
        raise Invalid("the manifest contradicts itself", code="MFT-CONFIG-1008")
    return Signed(manifest, data)


def program_problem(manifest: Manifest, program: str) -> str:
    """Say why a program of this version cannot use the manifest; empty if it can."""
    if _numbers(program) >= _numbers(manifest.program_least):
        return ""
    return f"version {manifest.version} needs program {manifest.program_least} or newer; this is {program}"


class _Format(Struct):
    format: int


def _numbers(version: str) -> tuple[int, ...]:
    release = version.partition("+")[0]
    return tuple(int(part) if part.isdigit() else 0 for part in release.split("."))
