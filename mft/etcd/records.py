"""What etcd gives back: keys are text, values are bytes, and every answer says at which revision it holds.

A key that is no UTF-8 (somebody else's) survives the way there and back, as surrogate escapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from mft.pb.etcd import v3_pb2 as pb


def encode_key(key: str) -> bytes:
    """The key as etcd stores it."""
    return key.encode("utf-8", "surrogateescape")


def decode_key(key: bytes) -> str:
    """The key as we write it."""
    return key.decode("utf-8", "surrogateescape")


def prefix_range(prefix: str) -> tuple[bytes, bytes]:
    """First key and end of all keys with a prefix. For the empty prefix, and one of 0xff alone, the end is open."""
    start = encode_key(prefix)
    stem = start.rstrip(b"\xff")
    return start or b"\0", stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"


class Header(NamedTuple):
    """Which cluster and member answered, and how far it was."""

    cluster_id: int
    member_id: int
    revision: int
    raft_term: int

    @classmethod
    def of(cls, message: pb.ResponseHeader) -> Self:
        """Read it from an answer."""
        return cls(message.cluster_id, message.member_id, message.revision, message.raft_term)


class KeyValue(NamedTuple):
    """One key as it stood at some revision. `lease` 0: it has none."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int

    @classmethod
    def of(cls, message: pb.KeyValue) -> Self:
        """Read it from an answer."""
        return cls(
            decode_key(message.key),
            message.value,
            message.create_revision,
            message.mod_revision,
            message.version,
            message.lease,
        )


class Got(NamedTuple):
    """One key looked up; `kv` is None if it does not exist."""

    header: Header
    kv: KeyValue | None

    @property
    def value(self) -> bytes | None:
        """The value, None if the key does not exist."""
        return self.kv.value if self.kv else None

    @property
    def mod_revision(self) -> int:
        """Its last change, 0 if the key does not exist: what a transaction compares."""
        return self.kv.mod_revision if self.kv else 0

    @property
    def create_revision(self) -> int:
        """Its making, 0 if the key does not exist."""
        return self.kv.create_revision if self.kv else 0


class Listing(NamedTuple):
    """Keys in their order, all as of `revision`. `total` is how many there are, also where fewer were asked for."""

    header: Header
    kvs: tuple[KeyValue, ...]
    revision: int
    total: int

    @classmethod
    def of(cls, message: pb.RangeResponse) -> Self:
        """Read it from an answer."""
        header = Header.of(message.header)
        return cls(header, tuple(KeyValue.of(kv) for kv in message.kvs), header.revision, message.count)

    @property
    def kv(self) -> KeyValue | None:
        """The only, or first, key; None if there is none."""
        return self.kvs[0] if self.kvs else None


class Written(NamedTuple):
    """A put was applied, at `header.revision`."""

    header: Header


class Deleted(NamedTuple):
    """A delete was applied; `total` keys were there."""

    header: Header
    total: int


class TxnResult(NamedTuple):
    """Which side of a transaction ran, and what each of its operations gave, in order."""

    header: Header
    succeeded: bool
    responses: Sequence[pb.ResponseOp]
    """As they came: most callers need none of them, and there may be a hundred."""

    @classmethod
    def of(cls, message: pb.TxnResponse) -> Self:
        """Read it from an answer."""
        return cls(Header.of(message.header), message.succeeded, message.responses)

    def listing(self, index: int) -> Listing:
        """What the read at `index` gave. Its own header carries the revision only, so the transaction's is used."""
        response = self.responses[index]
        assert response.HasField("response_range"), "the operation at this index is no read"
        found = response.response_range
        return Listing(self.header, tuple(map(KeyValue.of, found.kvs)), self.header.revision, found.count)
