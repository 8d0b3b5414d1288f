"""The controller's own store of every version. Etcd distributes the config; this store is what it can be rebuilt from.

A pass looks at both and makes etcd whole: an empty one, or one that has gone back in time because it was restored from
a backup, gets the newest content again, under a greater number and a new incarnation, so that no node ever goes
backwards. Versions that other controllers published are copied here.

With the new incarnation begins a time in which nobody leads (restoring.py): nodes know what etcd has lost.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import msgspec
import structlog

from mft.cluster import files
from mft.cluster.buckets import pack
from mft.cluster.keys import Keys
from mft.cluster.life import Life
from mft.cluster.manifest import Signed
from mft.cluster.restore import Gate, decode_gate, decode_noticed, encode
from mft.cluster.sign import SigningKey
from mft.cluster.store_disk import DiskStore, Version
from mft.cluster.store_etcd import Current, Draft, EtcdStore, VersionConflict
from mft.controller.fleet import greatest_version
from mft.controller.home import NODES, Home, new_incarnation
from mft.errors import Invalid, MftError, NotFound
from mft.etcd.client import EtcdClient
from mft.etcd.ops import DeletePrefix, Operation, Put, create_revision, mod_revision

LOOK_OVER_S = 60.0

Step = Literal["none", "begin", "rebuild"]


def decide(etcd_version: int, has_incarnation: bool, own_version: int, went_back: bool = False) -> Step:
    """Say what etcd needs: nothing, the id of its first life, or a new life with all of the newest config again."""
    # One with a config but without an incarnation lost a key.
    if own_version > etcd_version or went_back or (etcd_version and not has_incarnation):
        return "rebuild"
    return "none" if has_incarnation else "begin"


class Custody:
    """Keeps etcd and the controller's own store whole."""

    def __init__(
        self, etcd: EtcdClient, keys: Keys, store: EtcdStore, own: DiskStore, *, key: SigningKey, life: Life, home: Home
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self._store = store
        self._own = own
        self._key = key
        self._life = life
        self._first_life = home.pinned.incarnation
        self._nodes_file = home.folder / NODES
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Make a pass at every change of the pointer and by the clock, until cancelled."""
        async with self._etcd.watch(self._keys.current, prefix=False) as watch:
            async for _ in watch.follow(every_s=LOOK_OVER_S):
                try:
                    await self.check()
                except MftError as error:
                    self._log.warning("etcd and the own store could not be compared; trying again", reason=str(error))

    async def check(self) -> Step:
        """Make one pass; say what was done to etcd."""
        # Before anything else: what another controller makes of etcd in the meantime is then not done once more.
        seen = await self._store.current()
        why = await self._went_back()
        # The numbers alone first: reading a whole version costs half a second with 100,000 accounts.
        numbers = await asyncio.to_thread(self._own.versions)
        step = decide(seen.version, bool(seen.incarnation), max(numbers, default=0), bool(why))
        if step == "rebuild":
            await self._copy(seen)
            own, problems = await asyncio.to_thread(self._own.newest)
            for path, message in problems:
                self._log.error("a version in the controller's own store is damaged", path=path, reason=message)
            step = decide(seen.version, bool(seen.incarnation), own.manifest.version if own else 0, bool(why))
            if step == "rebuild":
                await self._rebuild(seen, own, why or f"it was at version {seen.version} of the config")
        if step == "begin":
            await self._begin()
        if step == "none":
            await self._keep_nodes()
        await self._copy(await self._store.current())
        return step

    async def _went_back(self) -> str:
        """Say why it is certain that etcd has gone back, by what this controller knows or an instance has told."""
        look = await self._life.beat()
        if look.went_back:
            return look.went_back
        value = (await self._etcd.kv.get(self._keys.restore_noticed)).value
        if value is None:
            return ""
        noticed = decode_noticed(value)
        return f"{noticed.by} found that {noticed.why}"

    async def keep(self, signed: Signed, chunks: dict[str, bytes]) -> None:
        """Put a version that was just published into the own store."""
        await asyncio.to_thread(self._own.save, signed, chunks)

    async def above(self) -> int:
        """Say the greatest version that anybody has seen, here or on a node: a new one must be greater."""
        listing = await self._etcd.kv.get_prefix(self._keys.nodes)
        versions = await asyncio.to_thread(self._own.versions)
        return max(greatest_version(self._keys, listing.kvs), *versions, 0)

    async def _begin(self) -> None:
        key = self._keys.incarnation
        await self._etcd.kv.txn(when=[create_revision(key) == 0], then=[Put(key, self._first_life.encode())])

    async def _rebuild(self, seen: Current, own: Version | None, why: str) -> None:
        """Begin a new life, in which nobody leads before the nodes have posted their records."""
        incarnation = new_incarnation()
        gate = await self._gate(seen, incarnation, why)
        also: tuple[Operation, ...] = (
            Put(self._keys.restore, encode(gate)),
            DeletePrefix(self._keys.restores),
            DeletePrefix(self._keys.posted_records),
        )
        self._log.warning("etcd has gone back or lost something; it begins a new life", reason=why)
        if own is None:
            when = [mod_revision(self._keys.incarnation) == seen.incarnation_revision]
            await self._etcd.kv.txn(when=when, then=[Put(self._keys.incarnation, incarnation.encode()), *also])
            return
        packed = await asyncio.to_thread(pack, own.config)
        draft = Draft(
            packed=packed,
            components=own.manifest.components,
            author="controller",
            comment=f"version {own.manifest.version} again: etcd was at {seen.version}",
            at=own.manifest.time,
            program_least=own.manifest.program_least,
            above=await self.above(),
            incarnation=incarnation,
            also=also,
        )
        try:
            signed = await self._store.publish(draft, self._key, seen, seen.version)
        except VersionConflict:
            return  # Another controller did it first; the next pass sees what it made.
        await self.keep(signed, packed.chunks)
        self._log.warning("etcd has the config again, in a new life", version=signed.manifest.version)

    async def _gate(self, seen: Current, incarnation: str, why: str) -> Gate:
        """Say whose records are waited for: all nodes that etcd or this controller knows to have run."""
        # Nobody has led since a gate that stands; it begins again.
        nodes = await self._acked() | await self._awaited() | {*await asyncio.to_thread(self._kept_nodes)}
        return Gate(
            incarnation=incarnation,
            was=seen.incarnation,
            was_revision=seen.incarnation_revision,
            lives=await asyncio.to_thread(self._lives, seen.incarnation),
            nodes=tuple(sorted(nodes)),
            at=time.time(),
            why=why,
        )

    def _lives(self, present: str) -> tuple[str, ...]:
        """List the incarnations so far, the oldest first: each began with a version of its own."""
        lives: dict[str, None] = {self._first_life: None}
        for number in sorted(self._own.versions()):
            try:
                lives.setdefault(self._own.manifest(number).manifest.incarnation)
            except MftError:
                continue  # Damaged; told where it is read for its content.
        if present:
            lives.setdefault(present)
        return tuple(lives)

    async def _acked(self) -> set[str]:
        listing = await self._etcd.kv.get_prefix(self._keys.nodes, keys_only=True)
        names = (kv.key.removeprefix(self._keys.nodes) for kv in listing.kvs)
        return {name.removesuffix("/ack") for name in names if name.endswith("/ack")}

    async def _awaited(self) -> set[str]:
        """Name the nodes of a restore that has not ended."""
        standing = (await self._etcd.kv.get(self._keys.restore)).value
        return set() if standing is None else {*decode_gate(standing).nodes}

    async def _keep_nodes(self) -> None:
        """Keep on this disk which nodes there are: after a loss of etcd they are asked for their records."""
        # Who is away since etcd was built anew has not acknowledged there yet: a second loss must not pass it over.
        nodes = await self._acked() | await self._awaited()
        if nodes != set(await asyncio.to_thread(self._kept_nodes)):
            await asyncio.to_thread(files.write, self._nodes_file, msgspec.json.encode(sorted(nodes)))

    def _kept_nodes(self) -> list[str]:
        data = files.read(self._nodes_file)
        try:
            return msgspec.json.decode(data, type=list[str]) if data is not None else []
        except msgspec.DecodeError as error:
            raise Invalid(f"{self._nodes_file} is damaged; remove it if no node is away: {error}") from error

    async def _copy(self, seen: Current) -> None:
        """Copy the versions that are in etcd but not here. One that is damaged there is passed over and reported."""
        have = set(await asyncio.to_thread(self._own.versions))
        if seen.version in have and not await self._is_same(seen.version):
            have.discard(seen.version)  # Of two lives with one number the one that nodes follow counts.
        for number in await self._store.versions():
            if number in have:
                continue
            try:
                signed, chunks = await self._store.fetch(number, self._own.chunk)
                await asyncio.to_thread(self._own.save, signed, chunks)
            except NotFound:
                continue  # Swept since it was listed.
            except MftError as error:
                self._log.warning("a version in etcd cannot be kept", version=number, reason=str(error))

    async def _is_same(self, number: int) -> bool:
        try:
            there = await self._store.manifest(number)
            return there.data == (await asyncio.to_thread(self._own.manifest, number)).data
        except NotFound:
            return True
        except Invalid:
            return False
