"""Values of keys in etcd that must be understood: who cannot read one must not act as if it were not there."""

from __future__ import annotations

from typing import Protocol, TypeVar

from msgspec import DecodeError

from mft.errors import MftError

T_co = TypeVar("T_co", covariant=True)


class Decoder(Protocol[T_co]):
    """Of msgspec, for JSON or msgpack."""

    def decode(self, data: bytes, /) -> T_co:
        """Decode, or raise `DecodeError`."""
        ...


def read(decoder: Decoder[T_co], data: bytes, key: str) -> T_co:
    """Read the value of a key. Raises `MftError` where that cannot be done, perhaps since a newer program wrote it."""
    try:
        return decoder.decode(data)
    except DecodeError as error:
        raise MftError(
            f"{key} in etcd cannot be read by this program, perhaps a newer one wrote it: {error}"
        ) from error
