"""How a node gets the cluster's keys: it asks in etcd, the controller answers there.

    join/<node>/request   {name, public_key, time}: an X25519 key that the node made and keeps
    join/<node>/answer    what Pinned holds, the cluster key sealed to that key; signed by the controller

What this protects: neither etcd nor a backup of it ever holds the cluster's key in clear, an answer serves no other
node than the one that asked, and a name that was admitted once is not given to another key until an operator forgets
the node. What it does not: who can write to `join/` at all, because etcd is open, can ask under a new name and is
admitted; and a node without a trust file believes the first answer that it sees. Restrict etcd by its own access
control, and give nodes `--trust FILE`, which makes them accept only what these keys have signed.

Forgetting a node takes no key back from it: whoever held the cluster's key still opens what was sealed with it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from mft.cluster import files
from mft.cluster.keys import part
from mft.cluster.seal import NONCE_BYTES
from mft.cluster.sign import SigningKey, Trust, from_text, public_key_of, to_text
from mft.cluster.trust_file import Pinned
from mft.errors import Denied, Invalid

KEY_FILE = "join.key"
PURPOSE = "join-answer"
REQUEST_BYTES_MAX = 4096


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node asks to be admitted."""

    name: str
    public_key: str
    time: float


class Answer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The controller admits a node. Only the private key of `public_key` opens `sealed_keys`."""

    cluster: str
    name: str
    public_key: str
    ephemeral_key: str
    sealed_keys: str
    signing_keys: tuple[str, ...]
    incarnation: str


def load_or_make_key(folder: Path) -> X25519PrivateKey:
    """Return the node's key, made at its first start. A restart while waiting asks with the same one. Blocks."""
    raw = files.read(folder / KEY_FILE)
    if raw is None:
        files.make_folder(folder)
        raw = X25519PrivateKey.generate().private_bytes_raw()
        files.write(folder / KEY_FILE, raw)
    try:
        return X25519PrivateKey.from_private_bytes(raw)
    except ValueError as error:
        raise Invalid(f"{folder / KEY_FILE} is damaged: remove it and forget the node, then join again") from error


def make_request(node: str, key: X25519PrivateKey, now: float) -> bytes:
    """Write the request of this node."""
    return msgspec.json.encode(Request(name=node, public_key=public_text(key), time=now))


def read_request(data: bytes, node: str) -> Request:
    """Read what stands at `join/<node>/request`. Raises `Invalid`: anybody may have written there."""
    try:
        request = msgspec.json.decode(data[: REQUEST_BYTES_MAX + 1], type=Request)
        public_key_of(request.public_key)
    except msgspec.DecodeError as error:
        raise Invalid(f"the request of node {node!r} cannot be read: {error}") from error
    if request.name != part(node):
        raise Invalid(f"the request of node {node!r} names another node")
    return request


def admit(request: Request, pinned: Pinned, key: SigningKey, earlier: bytes | None) -> bytes | None:
    """Answer a request; None if it is answered already.

    `earlier` is the answer that stands under the node's name. Raises `Denied` if it was given to another key.
    """
    if earlier is not None:
        admitted = _decode(earlier)[0]
        if admitted.public_key == request.public_key:
            return None
        raise Denied(TAKEN.format(name=request.name), code="MFT-JOIN-1001")
    ephemeral = X25519PrivateKey.generate()
    answer = Answer(
        cluster=pinned.cluster,
        name=request.name,
        public_key=request.public_key,
        ephemeral_key=public_text(ephemeral),
        sealed_keys="",
        signing_keys=pinned.signing_keys,
        incarnation=pinned.incarnation,
    )
    nonce = os.urandom(NONCE_BYTES)
    cipher = _cipher(ephemeral, request.public_key, answer)
    sealed = cipher.encrypt(nonce, msgspec.json.encode(pinned.cluster_keys), _bound(answer))
    payload = msgspec.json.encode(msgspec.structs.replace(answer, sealed_keys=to_text(nonce + sealed)), order="sorted")
    return payload + b"\n" + f"{key.id} {to_text(key.sign(PURPOSE, payload))}\n".encode()


def accept(data: bytes, node: str, cluster: str, key: X25519PrivateKey, trust: Trust | None) -> Pinned:
    """Open the answer to this node. Without `trust` the answer's own signing keys are believed.

    Raises `Denied` if the name is admitted with another key, `Invalid` if the answer is forged or damaged.
    """
    answer, payload, signer, signature = _decode(data)
    (trust or Trust(map(public_key_of, answer.signing_keys))).verify(PURPOSE, payload, signer, signature)
    if answer.cluster != cluster or answer.name != node:
        raise Invalid(f"the answer is for node {answer.name!r} of cluster {answer.cluster!r}", code="MFT-TRUST-1003")
    if answer.public_key != public_text(key):
        raise Denied(TAKEN.format(name=node), code="MFT-JOIN-1001")
    raw = from_text(answer.sealed_keys, "the sealed key")
    try:
        clear = _cipher(key, answer.ephemeral_key, answer).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound(answer))
        keys = msgspec.json.decode(clear, type=tuple[str, ...])
    except (InvalidTag, ValueError, msgspec.DecodeError) as error:
        raise Invalid("the answer's sealed key does not open", code="MFT-TRUST-1004") from error
    # With a trust file its keys are what is pinned, whatever the answer names.
    signing = tuple(map(to_text, trust.public_keys)) if trust else answer.signing_keys
    pinned = Pinned(cluster=cluster, signing_keys=signing, cluster_keys=keys, incarnation=answer.incarnation)
    pinned.sealer()
    return pinned


def admitted_key(data: bytes, node: str, cluster: str, trust: Trust) -> bytes:
    """Return the public key that was admitted under this name. Raises `Invalid` if the answer is forged or damaged."""
    answer, payload, signer, signature = _decode(data)
    trust.verify(PURPOSE, payload, signer, signature)
    if answer.cluster != cluster or answer.name != node:
        raise Invalid(f"the answer is for node {answer.name!r} of cluster {answer.cluster!r}", code="MFT-TRUST-1003")
    return public_key_of(answer.public_key)


def public_text(key: X25519PrivateKey) -> str:
    """Write the public part as base64."""
    return to_text(key.public_key().public_bytes_raw())


def _decode(data: bytes) -> tuple[Answer, bytes, str, bytes]:
    payload, _, trailer = data.partition(b"\n")
    words = trailer.decode("ascii", "replace").split()
    if len(words) != 2:
        raise Invalid("the answer is damaged", code="MFT-TRUST-1004")
    try:
        answer = msgspec.json.decode(payload, type=Answer)
    except msgspec.DecodeError as error:
        raise Invalid(f"the answer cannot be read: {error}", code="MFT-TRUST-1004") from error
    return answer, payload, words[0], from_text(words[1], "the answer's signature")


def _cipher(own: X25519PrivateKey, other: str, answer: Answer) -> AESGCM:
    shared = own.exchange(X25519PublicKey.from_public_bytes(public_key_of(other)))
    return AESGCM(HKDF(hashes.SHA256(), 32, None, _bound(answer)).derive(shared))


def _bound(answer: Answer) -> bytes:
    words = ("mft-join-v1", answer.cluster, answer.name, answer.public_key, answer.ephemeral_key)
    return "\0".join(words).encode()


TAKEN = (
    "a node named {name} was admitted with another key; if this one replaces it, run `mft-admin nodes forget {name}` "
    "and start it again"
)
