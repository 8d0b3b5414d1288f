"""Every administrative use case, once. Callers bring a transport and say who asks; nothing here knows of gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from mft.cluster.buckets import Packed, pack, unpack
from mft.cluster.keys import part
from mft.cluster.manifest import Manifest
from mft.cluster.seal import Sealer, redact
from mft.cluster.sign import SigningKey
from mft.cluster.store_disk import DiskStore, Version
from mft.cluster.store_etcd import Current, Draft, EtcdStore, VersionConflict
from mft.controller import fleet
from mft.controller.custody import Custody
from mft.controller.prepare import prepare
from mft.controller.restoring import Restore, Restoring
from mft.errors import Conflict, Invalid, NotFound, Problem
from mft.etcd.client import EtcdClient
from mft.etcd.ops import GetPrefix
from mft.model.check import judge
from mft.model.config import FAMILIES, Config
from mft.model.decode import encode, invalid
from mft.model.document import path_of, read
from mft.model.view import instance_of
from mft.model.walk import components_of

PROGRAM_LEAST = "0.1.0"
"""The oldest program that can use what this one publishes. Raised with each new family, field or form."""
ATTEMPTS_MAX = 5
"""How often a change that names no base version is tried again when others are faster."""
COMMENT_CHARACTERS_MAX = 1000
NAMED_CHANGES_MAX = 100
HISTORY_MAX = 1000


class Change(Struct, frozen=True, kw_only=True):
    """What a new version changes; of many components only the first are named."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    names: tuple[str, ...] = ()
    """`+ accounts.bob`, `~ services.main`, `- transfers.x`."""


class Applied(NamedTuple):
    """What became of an `apply`."""

    version: int
    """The new version, or the current one if nothing was published."""
    published: bool
    change: Change
    warnings: tuple[Problem, ...]


class _By(NamedTuple):
    author: str
    comment: str


class Shown(NamedTuple):
    """One version for an author's eyes."""

    manifest: Manifest
    document: dict[str, Any]
    """The author's table; secrets are placeholders, or sealed where that was asked for."""


class Status(Struct, frozen=True, kw_only=True):
    """The cluster in one look."""

    cluster: str
    incarnation: str
    version: int
    nodes_ready: int
    nodes: int
    leaders: dict[str, str]
    etcd_endpoint: str
    etcd_version: str
    etcd_used_bytes: int
    restore_awaits: tuple[str, ...]
    """Nodes whose records are waited for after a restore of etcd: until then nobody leads."""


class Operations:
    """What an administrator can do. All constructor arguments are owned by the caller."""

    def __init__(
        self,
        etcd: EtcdClient,
        store: EtcdStore,
        *,
        own: DiskStore,
        custody: Custody,
        restoring: Restoring,
        sealer: Sealer,
        key: SigningKey,
        forget: Callable[[str], Awaitable[None]],
        make_host_keys: Callable[[], tuple[str, ...]],
    ) -> None:
        self._etcd = etcd
        self._keys = store.keys
        self._store = store
        self._own = own
        self._custody = custody
        self._restoring = restoring
        self._sealer = sealer
        self._key = key
        self._forget = forget
        self._make_host_keys = make_host_keys

    async def apply(
        self, text: str | bytes, *, author: str, base: int | None = None, comment: str = "", dry_run: bool = False
    ) -> Applied:
        """Make the document the newest version for all.

        With `base`, only if that is the current version: else `VersionConflict`. Without, whatever is current is
        replaced. A document with the same content as the current version publishes nothing.
        Raises `Invalid` with everything that is wrong; then nothing was written.
        """
        if len(comment) > COMMENT_CHARACTERS_MAX or len(author) > COMMENT_CHARACTERS_MAX:
            raise Invalid(f"author and comment have at most {COMMENT_CHARACTERS_MAX} characters each")
        config, warnings = await asyncio.to_thread(_judged, text)
        for attempt in range(ATTEMPTS_MAX):
            try:
                return await self._apply(config, warnings, base, _By(author, comment), dry_run=dry_run)
            except VersionConflict:
                if base is not None or attempt == ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def show(self, version: int | None = None, *, sealed: bool = False) -> Shown:
        """Return a version (None: the current one). Secrets are never shown in clear; `sealed` shows them sealed."""
        found = await self._version(version)
        config = found.config if sealed else await asyncio.to_thread(redact, found.config)
        return Shown(found.manifest, encode(config))

    async def history(self, limit: int = 20) -> tuple[Manifest, ...]:
        """List the newest versions, newest first."""
        if not 1 <= limit <= HISTORY_MAX:
            raise Invalid(f"limit is from 1 to {HISTORY_MAX}")
        return await self._store.history(limit)

    async def config(self) -> Config:
        """Return the config that stands, sealed; an empty one before the first."""
        return await self._standing(await self._store.current())

    async def nodes(self) -> tuple[fleet.NodeState, ...]:
        """List all instances that are there, were there, or are named in the config."""
        return (await self._fleet())[0]

    async def status(self) -> Status:
        """Describe the cluster in one look."""
        nodes, elected, seen = await self._fleet()
        etcd = await self._etcd.servers.status()
        restore = await self._restoring.read()
        return Status(
            cluster=self._keys.cluster,
            incarnation=seen.incarnation,
            version=seen.version,
            nodes_ready=sum(node.state == "ready" for node in nodes),
            nodes=len(nodes),
            leaders=elected.leaders(),
            etcd_endpoint=etcd.endpoint,
            etcd_version=etcd.version,
            etcd_used_bytes=etcd.used_bytes,
            restore_awaits=restore.missing if restore else (),
        )

    async def restore(self) -> Restore | None:
        """Say how far a restore of etcd is; None: there is none, or it has ended."""
        return await self._restoring.read()

    async def leave_out(self, nodes: Sequence[str], by: str) -> Restore | None:
        """Go on after a restore of etcd without the records of these nodes. Returns what is left.

        Raises `Conflict` if there is no restore or the node has posted them, `NotFound` if it is not waited for.
        """
        return await self._restoring.leave_out([part(name, "a node's name") for name in nodes], by)

    async def forget_node(self, name: str) -> None:
        """Let another machine join under this name. Raises `Conflict` while it runs, `NotFound`."""
        await self._forget(part(name, "a node's name"))

    async def _apply(
        self, config: Config, warnings: tuple[Problem, ...], base: int | None, by: _By, *, dry_run: bool
    ) -> Applied:
        seen = await self._store.current()
        if base is not None and base != seen.version:
            raise VersionConflict(base, seen.version)
        if seen.pointer and seen.pointer.next:
            raise Conflict(f"version {seen.pointer.next} is being tried on some nodes: promote or withdraw it first")
        earlier = await self._standing(seen)
        prepared, change, packed = await asyncio.to_thread(self._prepare, config, earlier)
        if dry_run or (seen.pointer and prepared == earlier):
            return Applied(seen.version, False, change, warnings)
        if not seen.incarnation:
            await self._custody.check()
            raise VersionConflict(seen.version, (await self._store.current()).version)
        draft = Draft(
            packed=packed,
            components=1 + sum(len(components_of(prepared, family)) for family in FAMILIES),
            author=by.author,
            comment=by.comment,
            at=time.time(),
            program_least=PROGRAM_LEAST,
            above=await self._custody.above(),
        )
        signed = await self._store.publish(draft, self._key, seen, seen.version if base is None else base)
        await self._custody.keep(signed, packed.chunks)
        return Applied(signed.manifest.version, True, change, warnings)

    def _prepare(self, config: Config, earlier: Config) -> tuple[Config, Change, Packed]:
        prepared = prepare(config, earlier, self._sealer, self._make_host_keys)
        return prepared, difference(earlier, prepared), pack(prepared)

    async def _version(self, number: int | None) -> Version:
        if number is None:
            seen = await self._store.current()
            if seen.pointer is None:
                raise NotFound("no config was applied yet", code="MFT-CONFIG-1004")
            number = seen.version
        try:
            signed = await self._store.manifest(number)
        except NotFound as nowhere:
            try:
                return await asyncio.to_thread(self._own.load, number)  # Swept from etcd; kept here.
            except NotFound:
                raise nowhere from None
        # Chunks are what their names say, wherever they come from: most of them are on this disk.
        chunks = await asyncio.to_thread(self._own.chunks, signed.manifest.buckets)
        chunks |= await self._store.chunks(name for name in signed.manifest.buckets if name and name not in chunks)
        config = await asyncio.to_thread(unpack, signed.manifest.buckets, chunks.get)
        return Version(signed.manifest, signed.data, config)

    async def _standing(self, seen: Current) -> Config:
        """Return the config that stands.

        One in etcd that is forged or damaged stands for nothing, and must not keep administrators from seeing what
        the nodes say of it, nor from publishing a good one: then it is the newest that this controller has kept.
        """
        if seen.pointer is None:
            return Config()
        try:
            return (await self._version(seen.version)).config
        except Invalid:
            kept, _ = await asyncio.to_thread(self._own.newest)
            return kept.config if kept else Config()

    async def _fleet(self) -> tuple[tuple[fleet.NodeState, ...], fleet.Elections, Current]:
        seen = await self._store.current()
        result = await self._etcd.kv.txn(when=[], then=[GetPrefix(self._keys.nodes), GetPrefix(self._keys.elections)])
        elected = fleet.elections(self._keys, result.listing(1).kvs)
        config = await self._standing(seen)
        wanted = {"": seen.pointer.stable if seen.pointer else 0}
        if seen.pointer and seen.pointer.next:
            for name in config.nodes:
                wanted[name] = seen.pointer.version_for(instance_of(config, name, "node"))
        nodes = fleet.nodes(self._keys, result.listing(0).kvs, elected, config.nodes, wanted)
        return nodes, elected, seen


def difference(earlier: Config, later: Config) -> Change:
    """Say what differs between two stored configs."""
    names: list[str] = [] if earlier.server == later.server else ["~ server"]
    added, changed, removed = 0, len(names), 0
    for family in FAMILIES:
        old, new = components_of(earlier, family), components_of(later, family)
        for id in sorted({*old, *new}):
            if id not in old:
                added, mark = added + 1, "+"
            elif id not in new:
                removed, mark = removed + 1, "-"
            elif old[id] != new[id]:
                changed, mark = changed + 1, "~"
            else:
                continue
            if len(names) < NAMED_CHANGES_MAX:
                names.append(f"{mark} {path_of(family, id)}")
    return Change(added=added, changed=changed, removed=removed, names=tuple(names))


def _judged(text: str | bytes) -> tuple[Config, tuple[Problem, ...]]:
    config, findings = judge(read(text))
    if findings.problems:
        raise invalid(findings.problems)
    return config, findings.warnings
