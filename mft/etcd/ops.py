"""What goes into a transaction, so that it reads as its sentence.

    await kv.txn(
        when=[create_revision(leader_key) == term, mod_revision(record_key) == seen],
        then=[Put(record_key, record)],
        otherwise=[Get(record_key)],
    )

A key that does not exist has create revision, mod revision and version 0. etcd takes at most 128 operations and no key
twice in one transaction.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from mft.etcd.records import encode_key, prefix_range
from mft.pb.etcd import v3_pb2 as pb


class Condition(NamedTuple):
    """A comparison that a transaction makes. Made by `create_revision(key) == 0` and its like."""

    message: pb.Compare


class _Field:
    """One property of a key, waiting to be compared."""

    __hash__ = None  # type: ignore[assignment]  # `==` gives a condition, so it can be no dictionary's key

    def __init__(self, key: str) -> None:
        self._key = encode_key(key)

    def _message(self, result: pb.Compare.Result.ValueType, operand: object) -> pb.Compare:
        raise NotImplementedError

    def __eq__(self, operand: object) -> Condition:  # type: ignore[override]
        return Condition(self._message(pb.Compare.EQUAL, operand))

    def __ne__(self, operand: object) -> Condition:  # type: ignore[override]
        return Condition(self._message(pb.Compare.NOT_EQUAL, operand))

    def __gt__(self, operand: object) -> Condition:
        return Condition(self._message(pb.Compare.GREATER, operand))

    def __lt__(self, operand: object) -> Condition:
        return Condition(self._message(pb.Compare.LESS, operand))


def _number(operand: object) -> int:
    if not isinstance(operand, int):
        raise TypeError(f"revisions, versions and leases are compared with integers, not {type(operand).__name__}")
    return operand


class create_revision(_Field):  # noqa: N801 - reads as the field's word in a condition
    """When the key was made; 0: it does not exist."""

    def _message(self, result: pb.Compare.Result.ValueType, operand: object) -> pb.Compare:
        return pb.Compare(result=result, target=pb.Compare.CREATE, key=self._key, create_revision=_number(operand))


class mod_revision(_Field):  # noqa: N801
    """When the key was last written; 0: it does not exist."""

    def _message(self, result: pb.Compare.Result.ValueType, operand: object) -> pb.Compare:
        return pb.Compare(result=result, target=pb.Compare.MOD, key=self._key, mod_revision=_number(operand))


class version(_Field):  # noqa: N801
    """How often the key was written since it was made; 0: it does not exist."""

    def _message(self, result: pb.Compare.Result.ValueType, operand: object) -> pb.Compare:
        return pb.Compare(result=result, target=pb.Compare.VERSION, key=self._key, version=_number(operand))


class lease(_Field):  # noqa: N801
    """The lease the key hangs on; 0: none."""

    def _message(self, result: pb.Compare.Result.ValueType, operand: object) -> pb.Compare:
        return pb.Compare(result=result, target=pb.Compare.LEASE, key=self._key, lease=_number(operand))


class value(_Field):  # noqa: N801
    """The key's bytes. A key that does not exist fails every comparison of its value."""

    def _message(self, result: pb.Compare.Result.ValueType, operand: object) -> pb.Compare:
        if not isinstance(operand, bytes):
            raise TypeError(f"values are compared with bytes, not {type(operand).__name__}")
        return pb.Compare(result=result, target=pb.Compare.VALUE, key=self._key, value=operand)


class Put(NamedTuple):
    """Write a key; with a lease it disappears when that ends."""

    key: str
    value: bytes
    lease: int = 0

    def message(self) -> pb.RequestOp:
        """The operation as etcd takes it."""
        return pb.RequestOp(request_put=pb.PutRequest(key=encode_key(self.key), value=self.value, lease=self.lease))


class Delete(NamedTuple):
    """Delete one key, if it is there."""

    key: str

    def message(self) -> pb.RequestOp:
        """The operation as etcd takes it."""
        return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=encode_key(self.key)))


class DeletePrefix(NamedTuple):
    """Delete every key with the prefix."""

    prefix: str

    def message(self) -> pb.RequestOp:
        """The operation as etcd takes it."""
        start, end = prefix_range(self.prefix)
        return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=start, range_end=end))


class Get(NamedTuple):
    """Read one key within the transaction."""

    key: str

    def message(self) -> pb.RequestOp:
        """The operation as etcd takes it."""
        return pb.RequestOp(request_range=pb.RangeRequest(key=encode_key(self.key)))


class GetPrefix(NamedTuple):
    """Read the keys with the prefix within the transaction, in key order; `limit` 0: all."""

    prefix: str
    limit: int = 0

    def message(self) -> pb.RequestOp:
        """The operation as etcd takes it."""
        start, end = prefix_range(self.prefix)
        return pb.RequestOp(request_range=pb.RangeRequest(key=start, range_end=end, limit=self.limit))


Operation: TypeAlias = Put | Delete | DeletePrefix | Get | GetPrefix
