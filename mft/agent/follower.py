"""Follows the config in etcd: pointer → manifest → missing chunks → verified → stored → in use → acknowledged.

The order is the promise: nothing is used that is not stored, nothing is stored that was not verified and decoded. A
version that cannot be used leaves the old one running and is answered with the reason. Without etcd the newest valid
version on disk serves at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from mft.aio import Latest
from mft.cluster.buckets import unpack
from mft.cluster.manifest import Manifest, program_problem
from mft.cluster.membership import Ack
from mft.cluster.seal import Sealer
from mft.cluster.store_disk import DiskStore, HighWater, Version
from mft.cluster.store_etcd import EtcdStore, Pointer, decode_pointer
from mft.errors import Invalid, MftError, Problem, Unavailable
from mft.etcd.client import EtcdClient
from mft.etcd.watch_stream import WatchTimes
from mft.events import catalogue
from mft.model.config import Config
from mft.model.scope import Role
from mft.model.view import instance_of, view

_LOOK_AGAIN_S = 30.0
"""How often the pointer is compared with what runs even though nothing seems to have changed."""
_WATCH_TIMES = WatchTimes(backoff_most_s=5.0)
"""After an outage a new version is to be seen soon, and one key costs etcd little."""
_FETCH_SPREAD_S_MAX = 5.0
"""Nodes wait a random part of this before they fetch a big change, so that not all of them ask etcd at once."""
_CHUNKS_AT_ONCE_MAX = 32
"""Up to so many missing chunks, some 2 MiB, are fetched without that wait."""
_PROBLEMS_TOLD_MAX = 5


class Follower:
    """Keeps `config`, this instance's view, and `ack` at the newest version that can be used here."""

    def __init__(
        self,
        *,
        name: str,
        role: Role,
        program: str,
        disk: DiskStore,
        sealer: Sealer,
        emit: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self._name = name
        self._role: Role = role
        self._program = program
        self._disk = disk
        self._sealer = sealer
        self._emit = emit
        self._whole = Config()
        self.config: Latest[Config] = Latest(Config())
        """This instance's view, secrets opened. Empty until a version is in use."""
        self.ack: Latest[Ack] = Latest(Ack())
        self._log = structlog.get_logger()

    async def load_snapshot(self) -> None:
        """Use the newest valid version on disk, if there is one; damaged newer ones are passed over and reported."""
        version, problems = await asyncio.to_thread(self._disk.newest)
        for problem in problems:
            self._log.error("a stored version is damaged", path=problem.path, reason=problem.message)
        while version is not None:
            try:
                self._use(version, stale=bool(problems))
                return
            except MftError as error:
                self._log.error("a stored version cannot be used", version=version.manifest.version, reason=_why(error))
                version, _ = await asyncio.to_thread(self._disk.newest, below=version.manifest.version)

    async def run(self, etcd: EtcdClient, current: str, store: EtcdStore) -> None:
        """Follow the pointer, which stands under the key `current`, until cancelled; an outage is waited for."""
        async with etcd.watch(current, prefix=False, times=_WATCH_TIMES) as watch:
            async for seen in watch.follow(every_s=_LOOK_AGAIN_S):
                kv = seen.items.get(current)
                try:
                    if kv is not None:
                        await self._catch_up(store, decode_pointer(kv.value))
                except MftError as error:
                    self._log.warning("the config cannot be read now", reason=str(error))

    async def _catch_up(self, store: EtcdStore, pointer: Pointer) -> None:
        """Bring the version that the pointer names into use, or acknowledge why not."""
        wanted = pointer.version_for(instance_of(self._whole, self._name, self._role))
        if wanted in (self.ack.value.applied, self.ack.value.rejected):
            return
        try:
            version = await self._fetch(store, wanted)
            self._use(version)
        except Unavailable:
            raise
        except MftError as error:
            self._reject(wanted, _why(error))
            return
        mark = HighWater(incarnation=version.manifest.incarnation, version=version.manifest.version)
        await asyncio.to_thread(self._disk.raise_high_water, mark)

    async def _fetch(self, store: EtcdStore, number: int) -> Version:
        """Get a version from etcd and store it."""
        mark = await asyncio.to_thread(self._disk.high_water)
        if mark is not None and number < mark.version:
            raise Invalid(f"version {number} is older than version {mark.version}, which was accepted before")
        signed = await store.manifest(number)
        problem = program_problem(signed.manifest, self._program)
        if problem:
            raise Invalid(problem)
        missing = await asyncio.to_thread(self._missing, signed.manifest)
        if len(missing) > _CHUNKS_AT_ONCE_MAX:
            await asyncio.sleep(random.uniform(0, _FETCH_SPREAD_S_MAX))
        chunks = await store.chunks(missing)
        # Built before it is stored: else versions that cannot be used here would push the one that runs off the disk.
        await asyncio.to_thread(self._try_out, signed.manifest, chunks)
        return await asyncio.to_thread(self._disk.save, signed, chunks)

    def _try_out(self, manifest: Manifest, chunks: Mapping[str, bytes]) -> None:
        """Raise `Invalid` if this version cannot be used here."""
        self._build(unpack(manifest.buckets, lambda name: chunks.get(name) or self._disk.chunk(name)))

    def _build(self, whole: Config) -> Config:
        """Make this instance's view, secrets opened."""
        return self._sealer.open_config(view(whole, self._name, self._role))

    def _missing(self, manifest: Manifest) -> list[str]:
        return [name for name in dict.fromkeys(manifest.buckets) if name and self._disk.chunk(name) is None]

    def _use(self, version: Version, *, stale: bool = False) -> None:
        """Swap to a stored version: build all that can fail first."""
        config = self._build(version.config)
        number = version.manifest.version
        self._whole = version.config
        self.config.set(config)
        self.ack.set(Ack(applied=number, stale=stale, at=time.time()))
        self._log.info("config in use", version=number, stale=stale)
        self._emit(catalogue.CONFIG_APPLIED, {"version": number})

    def _reject(self, number: int, reason: str) -> None:
        ack = self.ack.value
        self.ack.set(Ack(applied=ack.applied, rejected=number, reason=reason, stale=ack.stale, at=time.time()))
        self._log.error("config version rejected", version=number, reason=reason, still=ack.applied)
        self._emit(catalogue.CONFIG_REJECTED, {"version": number, "reason": reason})


def _why(error: MftError) -> str:
    """Say what is wrong, with the places where it is: who reads it in `nodes list` has nothing else to go by."""
    problems: tuple[Problem, ...] = getattr(error, "problems", ())
    more = [f"and {len(problems) - _PROBLEMS_TOLD_MAX} more"] if len(problems) > _PROBLEMS_TOLD_MAX else []
    told = "; ".join([*map(str, problems[:_PROBLEMS_TOLD_MAX]), *more])
    return f"{error}: {told}" if told else str(error)
