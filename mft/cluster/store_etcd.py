"""Versions of the config in etcd: published by compare-and-swap, read whole and proven.

    config/current       pointer {stable, next, to}: which version who follows
    config/versions/N    signed manifest
    config/chunks/HASH   buckets, written before the manifest that names them, create-only

Any number of controllers may publish at once: the transaction that moves the pointer is the lock. Which exact bytes
are in etcd is of no matter to a reader, because the manifest is signed and names every chunk by its hash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from mft.cluster.buckets import Packed, chunk_name, unpack
from mft.cluster.keys import Keys
from mft.cluster.manifest import Manifest, Signed, sign, verify
from mft.cluster.sign import SigningKey, Trust
from mft.cluster.store_disk import Version
from mft.errors import Conflict, Invalid, NotFound, Unavailable
from mft.etcd.errors import OutcomeUnknown
from mft.etcd.kv import Kv
from mft.etcd.ops import Condition, Get, Operation, Put, create_revision, mod_revision
from mft.model.scope import Instance, LabelsSpec, is_labelled

BATCH_OPERATIONS_MAX = 128
"""etcd's own default for one transaction."""
BATCH_BYTES_MAX = 1024 * 1024
"""Below the 1.5 MiB that etcd takes in one request."""
FETCHES_MAX = 16
"""Chunks that are read at one time."""
ATTEMPTS_MAX = 4


class Pointer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`config/current`. An instance that matches `to` follows `next`, every other one `stable`."""

    stable: int
    next: int = 0
    to: tuple[str, ...] | LabelsSpec = ()

    def version_for(self, instance: Instance) -> int:
        """Say which version this instance follows."""
        chosen = (
            is_labelled(self.to.labels, instance.labels)
            if isinstance(self.to, LabelsSpec)
            else instance.name in self.to
        )
        return self.next if self.next and chosen else self.stable


class Current(NamedTuple):
    """What an author saw before he decided; compared when he publishes."""

    pointer: Pointer | None
    """None: nothing was ever published here."""
    pointer_revision: int
    sweep_revision: int
    incarnation: str
    """Empty in an etcd that no controller has prepared."""
    incarnation_revision: int

    @property
    def version(self) -> int:
        """The newest version that anybody follows; 0 for none."""
        return max(self.pointer.stable, self.pointer.next) if self.pointer else 0


class VersionConflict(Conflict):
    """Somebody else published first. `base` is the author's version, `current` the one that stands."""

    code = "MFT-CONFIG-1003"

    def __init__(self, base: int, current: int) -> None:
        super().__init__(
            f"the config is at version {current}, this change is based on {base}: see what is new, then apply again"
        )
        self.base = base
        self.current = current


class Draft(NamedTuple):
    """What an author wants to publish; `packed` is sealed and hashed."""

    packed: Packed
    components: int
    author: str
    comment: str
    at: float
    """Seconds since 1970."""
    program_least: str
    above: int = 0
    """The new number is greater than this one too: what own stores and nodes have already seen."""
    incarnation: str = ""
    """Not empty: begin a new life of the store with this id."""
    also: tuple[Operation, ...] = ()
    """What is written in the same transaction."""


class EtcdStore:
    """Versions in one cluster's etcd."""

    def __init__(self, kv: Kv, keys: Keys, trust: Trust) -> None:
        self._kv = kv
        self._keys = self.keys = keys
        self._trust = trust

    async def current(self) -> Current:
        """Read pointer, sweep and incarnation at one moment. Raises `Invalid` if the pointer is damaged."""
        keys = self._keys
        result = await self._kv.txn(when=[], then=[Get(keys.current), Get(keys.sweep), Get(keys.incarnation)])
        pointer, sweep, incarnation = (result.listing(n).kv for n in range(3))
        return Current(
            decode_pointer(pointer.value) if pointer else None,
            pointer.mod_revision if pointer else 0,
            sweep.mod_revision if sweep else 0,
            incarnation.value.decode("utf-8", "replace") if incarnation else "",
            incarnation.mod_revision if incarnation else 0,
        )

    async def pointer(self) -> Pointer | None:
        """Read the pointer alone; None if nothing was ever published. Raises `Invalid` if it is damaged."""
        value = (await self._kv.get(self._keys.current)).value
        return None if value is None else decode_pointer(value)

    async def manifest(self, number: int) -> Signed:
        """Read one version's manifest, verified. Raises `NotFound`, or `Invalid` if it is forged or damaged."""
        got = await self._kv.get(self._keys.version(number))
        if got.kv is None:
            raise NotFound(f"there is no version {number}", code="MFT-CONFIG-1004")
        signed = verify(got.kv.value, self._trust, self._keys.cluster)
        if signed.manifest.version != number:
            raise Invalid(f"the key of version {number} holds version {signed.manifest.version}", code="MFT-TRUST-1003")
        return signed

    async def fetch(self, number: int, have: Callable[[str], bytes | None]) -> tuple[Signed, dict[str, bytes]]:
        """Read a version's manifest and the chunks that `have` lacks, each checked against its name."""
        signed = await self.manifest(number)
        return signed, await self.chunks(name for name in signed.manifest.buckets if name and have(name) is None)

    async def chunks(self, names: Iterable[str]) -> dict[str, bytes]:
        """Read chunks, a few at a time. Raises `Invalid` if one is missing or is not what its name says."""
        found: dict[str, bytes] = {}
        waiting = iter(dict.fromkeys(names))

        async def fetch() -> None:
            for name in waiting:
                data = (await self._kv.get(self._keys.chunk(name))).value
                if data is None or chunk_name(data) != name:
                    raise Invalid(f"chunk {name} in etcd is {'damaged' if data else 'missing'}", code="MFT-CONFIG-1007")
                found[name] = data

        try:
            async with asyncio.TaskGroup() as tasks:
                for n in range(FETCHES_MAX):
                    tasks.create_task(fetch(), name=f"fetch-chunks-{n}")
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        return found

    async def load(self, number: int) -> Version:
        """Read a whole version. Raises `NotFound` or `Invalid`."""
        signed, chunks = await self.fetch(number, lambda _: None)
        return Version(signed.manifest, signed.data, unpack(signed.manifest.buckets, chunks.get))

    async def versions(self) -> tuple[int, ...]:
        """List the numbers of all versions, oldest first."""
        listing = await self._kv.get_prefix(self._keys.versions, keys_only=True)
        return tuple(int(kv.key.removeprefix(self._keys.versions)) for kv in listing.kvs)

    async def history(self, limit: int) -> tuple[Manifest, ...]:
        """List the newest versions, newest first."""
        numbers = sorted(await self.versions(), reverse=True)[:limit]
        return tuple([(await self.manifest(number)).manifest for number in numbers])

    async def publish(self, draft: Draft, key: SigningKey, seen: Current, base: int) -> Signed:
        """Make the draft the newest version for all, if nothing has changed since `seen`.

        Raises `VersionConflict` if somebody else was faster, `Unavailable` if it cannot be known or done now.
        """
        number = max(seen.version, draft.above) + 1
        manifest = Manifest(
            cluster=self._keys.cluster,
            incarnation=draft.incarnation or seen.incarnation,
            version=number,
            parent=seen.version,
            author=draft.author,
            time=draft.at,
            comment=draft.comment,
            program_least=draft.program_least,
            components=draft.components,
            buckets=draft.packed.buckets,
            key_id=key.id,
        )
        assert manifest.incarnation, "a controller prepares the store before it publishes"
        signed = sign(manifest, key)
        await self._write_chunks(draft.packed.chunks)
        when, then = self._move(signed, seen, draft)
        try:
            if (await self._kv.txn(when=when, then=then)).succeeded:
                return signed
        except OutcomeUnknown as error:
            got = await self._kv.get(self._keys.version(number))
            if got.value == signed.data:
                return signed
            if got.kv is None and (await self.current())[:3] == seen[:3]:
                raise Unavailable("etcd did not answer in time; the config was not changed") from error
        raise VersionConflict(base, (await self.current()).version)

    def _move(self, signed: Signed, seen: Current, draft: Draft) -> tuple[list[Condition], list[Operation]]:
        """Say when the pointer may move, and all that is written with it."""
        keys, number = self._keys, signed.manifest.version
        when: list[Condition] = [
            mod_revision(keys.current) == seen.pointer_revision,
            mod_revision(keys.sweep) == seen.sweep_revision,
            mod_revision(keys.incarnation) == seen.incarnation_revision,
            create_revision(keys.version(number)) == 0,
        ]
        then: list[Operation] = [
            Put(keys.version(number), signed.data),
            Put(keys.current, encode_pointer(Pointer(stable=number))),
        ]
        if draft.incarnation:
            then.append(Put(keys.incarnation, draft.incarnation.encode()))
        return when, [*then, *draft.also]

    async def _write_chunks(self, chunks: Mapping[str, bytes]) -> None:
        """Write the chunks that etcd lacks. What two controllers write at once is the same, so either may win."""
        for _ in range(ATTEMPTS_MAX):
            listing = await self._kv.get_prefix(self._keys.chunks, keys_only=True)
            present = {kv.key.removeprefix(self._keys.chunks) for kv in listing.kvs}
            missing = {name: data for name, data in chunks.items() if name not in present}
            if not missing:
                return
            for batch in batches(missing):
                keys = {self._keys.chunk(name): data for name, data in batch.items()}
                # A failed comparison means that somebody else wrote one of them: list again, then write the rest.
                await self._kv.txn(
                    when=[create_revision(key) == 0 for key in keys],
                    then=[Put(key, data) for key, data in keys.items()],
                    idempotent=True,
                )
        raise Unavailable("others write the same chunks all the time; the config was not changed")


def batches(chunks: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Divide chunks so that each part fits into one transaction."""
    batch: dict[str, bytes] = {}
    size_bytes = 0
    for name, data in chunks.items():
        if batch and (len(batch) == BATCH_OPERATIONS_MAX or size_bytes + len(data) > BATCH_BYTES_MAX):
            yield batch
            batch, size_bytes = {}, 0
        batch[name] = data
        size_bytes += len(data)
    if batch:
        yield batch


def encode_pointer(pointer: Pointer) -> bytes:
    """Encode for etcd."""
    return msgspec.json.encode(pointer)


def decode_pointer(data: bytes) -> Pointer:
    """Decode `config/current`. Raises `Invalid`."""
    try:
        return msgspec.json.decode(data, type=Pointer)
    except msgspec.DecodeError as error:
        raise Invalid(f"config/current cannot be read: {error}", code="MFT-CONFIG-1008") from error
