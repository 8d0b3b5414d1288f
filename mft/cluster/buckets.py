"""The stored form of a config: components, sorted, in buckets; each bucket a chunk named by its SHA-256.

A component's bucket depends on its path alone, so one changed account changes one chunk, whatever else there is. The
form is the same in etcd, on a node's disk and in a controller's store.

    chunk      zlib of canonical JSON {component path: spec as written}, keys sorted; named by the SHA-256 of its bytes
    buckets    a power of two of them, 64 KiB of JSON each on average at the most
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from mft.errors import Invalid, Problem
from mft.model.config import FAMILIES, Config
from mft.model.decode import decode_component, invalid
from mft.model.document import path_of
from mft.model.server import ServerSpec
from mft.model.walk import components_of

BUCKET_BYTES_AVERAGE = 64 * 1024
CHUNK_BYTES_MAX = 1000 * 1024
"""Compressed. With key and envelope below the 1 MiB that a transaction of ours may have, so below etcd's 1.5 MiB."""
CHUNK_CLEAR_BYTES_MAX = 64 * 1024 * 1024
"""Bounds what a forged chunk could make us decompress."""
BUCKETS_MAX = 16384
"""A manifest names each by 64 digits; more would not fit into one of etcd's values."""

_ENCODER = msgspec.json.Encoder(order="sorted")


class Packed(NamedTuple):
    """A config in the stored form."""

    buckets: tuple[str, ...]
    """Name of each bucket's chunk; empty for an empty bucket."""
    chunks: dict[str, bytes]
    """Name → bytes."""


def pack(config: Config) -> Packed:
    """Bring a config, already sealed and hashed, into the stored form. Raises `Invalid` if a component is too large."""
    components = dict(_components(config))
    size_bytes = sum(map(len, components.values()))
    count = 1
    while count * BUCKET_BYTES_AVERAGE < size_bytes:
        count *= 2
    while True:
        packed = _pack(components, count)
        largest = max(packed.chunks.values(), key=len, default=b"")
        if len(largest) <= CHUNK_BYTES_MAX and count <= BUCKETS_MAX:
            return packed
        # Large components met in one bucket. More buckets part them, unless one alone is too large.
        count *= 2
        if count > BUCKETS_MAX:
            path, data = max(components.items(), key=lambda item: len(item[1]))
            raise Invalid(
                "the config does not fit into the store",
                (Problem(path.replace("/", "."), f"the largest component: {len(data)} bytes"),),
                code="MFT-CONFIG-1006",
            )


def unpack(buckets: Iterable[str], chunk_of: Callable[[str], bytes | None]) -> Config:
    """Put a config together from its chunks. Raises `Invalid` if one is missing or damaged, or does not decode."""
    families: dict[str, Any] = {family.replace("-", "_"): {} for family in FAMILIES}
    decoders = {family: msgspec.json.Decoder(kind) for family, kind in FAMILIES.items()}
    decoders["server"] = msgspec.json.Decoder(ServerSpec)
    for name in buckets:
        if not name:
            continue
        for path, raw in _read_chunk(name, chunk_of(name)).items():
            family, _, id = path.partition("/")
            if family not in decoders:
                raise invalid([Problem(path_of(family), "there is no such family")])
            spec = _decode(decoders[family], family, id, raw)
            if family == "server":
                families["server"] = spec
            else:
                families[family.replace("-", "_")][id] = spec
    return Config(**families)


def bucket_of(path: str, count: int) -> int:
    """Say in which of `count` buckets the component with this path stands."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") & (count - 1)


def chunk_name(data: bytes) -> str:
    """Name a chunk by what it holds."""
    return hashlib.sha256(data).hexdigest()


def _components(config: Config) -> Iterable[tuple[str, bytes]]:
    yield "server", _ENCODER.encode(config.server)
    for family in FAMILIES:
        for id, spec in components_of(config, family).items():
            yield f"{family}/{id}", _ENCODER.encode(spec)


def _pack(components: Mapping[str, bytes], count: int) -> Packed:
    parts: list[list[bytes]] = [[] for _ in range(count)]
    for path in sorted(components):
        parts[bucket_of(path, count)].append(_ENCODER.encode(path) + b":" + components[path])
    buckets, chunks = [], {}
    for part in parts:
        data = zlib.compress(b"{" + b",".join(part) + b"}", 6) if part else b""
        name = chunk_name(data) if part else ""
        buckets.append(name)
        if part:
            chunks[name] = data
    return Packed(tuple(buckets), chunks)


def _read_chunk(name: str, data: bytes | None) -> dict[str, msgspec.Raw]:
    if data is None:
        raise Invalid(f"chunk {name} is missing", code="MFT-CONFIG-1007")
    if chunk_name(data) != name:
        raise Invalid(f"chunk {name} is damaged", code="MFT-CONFIG-1008")
    try:
        inflate = zlib.decompressobj()
        clear = inflate.decompress(data, CHUNK_CLEAR_BYTES_MAX)
        if not inflate.eof:
            raise Invalid(f"chunk {name} is larger than {CHUNK_CLEAR_BYTES_MAX} bytes", code="MFT-CONFIG-1008")
        return msgspec.json.decode(clear, type=dict[str, msgspec.Raw])
    except (zlib.error, msgspec.DecodeError) as error:
        raise Invalid(f"chunk {name} cannot be read: {error}", code="MFT-CONFIG-1008") from error


def _decode(decoder: msgspec.json.Decoder[Any], family: str, id: str, raw: msgspec.Raw) -> Any:
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError:
        return decode_component(family, id, msgspec.json.decode(raw))
