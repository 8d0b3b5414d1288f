"""The controller's own store of every version. Etcd distributes the config; this store is what it can be rebuilt from.

A pass looks at both and makes etcd whole: an empty one, or one that has gone back in time because it was restored from
a backup, gets the newest content again, under a greater number and a new incarnation, so that no node ever goes
backwards. Versions that other controllers published are copied here.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import structlog

from mft.cluster.buckets import pack
from mft.cluster.keys import Keys
from mft.cluster.manifest import Signed
from mft.cluster.sign import SigningKey
from mft.cluster.store_disk import DiskStore, Version
from mft.cluster.store_etcd import Current, Draft, EtcdStore, VersionConflict
from mft.controller.fleet import greatest_version
from mft.controller.home import new_incarnation
from mft.errors import Invalid, MftError, NotFound
from mft.etcd.client import EtcdClient
from mft.etcd.ops import Put, create_revision

LOOK_OVER_S = 60.0

Step = Literal["none", "begin", "rebuild"]


def decide(etcd_version: int, has_incarnation: bool, own_version: int) -> Step:
    """Say what etcd needs: nothing, the id of its first life, or all of it again."""
    if own_version > etcd_version:
        return "rebuild"
    return "none" if has_incarnation else "begin"


class Custody:
    """Keeps etcd and the controller's own store whole."""

    def __init__(
        self, etcd: EtcdClient, keys: Keys, store: EtcdStore, own: DiskStore, *, key: SigningKey, incarnation: str
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self._store = store
        self._own = own
        self._key = key
        self._incarnation = incarnation
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
        seen = await self._store.current()
        # The numbers alone first: reading a whole version costs half a second with 100,000 accounts.
        numbers = await asyncio.to_thread(self._own.versions)
        step = decide(seen.version, bool(seen.incarnation), max(numbers, default=0))
        if step == "rebuild":
            own, problems = await asyncio.to_thread(self._own.newest)
            for path, message in problems:
                self._log.error("a version in the controller's own store is damaged", path=path, reason=message)
            step = decide(seen.version, bool(seen.incarnation), own.manifest.version if own else 0)
            if step == "rebuild" and own is not None:
                await self._rebuild(seen, own)
        if step == "begin":
            await self._begin(seen)
        await self._copy(await self._store.current())
        return step

    async def keep(self, signed: Signed, chunks: dict[str, bytes]) -> None:
        """Put a version that was just published into the own store."""
        await asyncio.to_thread(self._own.save, signed, chunks)

    async def above(self) -> int:
        """Say the greatest version that anybody has seen, here or on a node: a new one must be greater."""
        listing = await self._etcd.kv.get_prefix(self._keys.nodes)
        versions = await asyncio.to_thread(self._own.versions)
        return max(greatest_version(self._keys, listing.kvs), *versions, 0)

    async def _begin(self, seen: Current) -> None:
        # An etcd with a pointer but no incarnation lost a key: a new life, never the old one's name.
        incarnation = new_incarnation() if seen.pointer else self._incarnation
        key = self._keys.incarnation
        await self._etcd.kv.txn(when=[create_revision(key) == 0], then=[Put(key, incarnation.encode())])

    async def _rebuild(self, seen: Current, own: Version) -> None:
        self._log.warning(
            "etcd has lost versions of the config; publishing the newest one again",
            etcd_version=seen.version,
            own_version=own.manifest.version,
        )
        packed = await asyncio.to_thread(pack, own.config)
        draft = Draft(
            packed=packed,
            components=own.manifest.components,
            author="controller",
            comment=f"version {own.manifest.version} again: etcd was at {seen.version}",
            at=own.manifest.time,
            program_least=own.manifest.program_least,
            above=await self.above(),
            incarnation=new_incarnation(),
        )
        try:
            signed = await self._store.publish(draft, self._key, seen, seen.version)
        except VersionConflict:
            return  # Another controller did it first; the next pass sees what it made.
        await self.keep(signed, packed.chunks)
        self._log.warning("etcd has the config again, in a new life", version=signed.manifest.version)

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
