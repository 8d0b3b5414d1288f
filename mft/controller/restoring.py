"""Ends a restore: once the records of all nodes are in, journal and ledgers are put in order, and leading is allowed.

Any number of controllers may do it at once: each transaction compares the incarnation, and each key as it was read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import NamedTuple

import structlog

from mft.cluster.keys import Keys
from mft.cluster.restore import Awaited, Gate, LeftOut, awaited, decode_gate, encode
from mft.controller.custody import Step
from mft.controller.restore_merge import Change, Knowledge
from mft.errors import Conflict, Invalid, MftError, NotFound, Problem, Unavailable
from mft.etcd.client import EtcdClient
from mft.etcd.ops import Condition, Delete, DeletePrefix, Get, GetPrefix, Operation, Put, mod_revision, value
from mft.etcd.records import KeyValue
from mft.transfers.recall import decode_portion

LOOK_OVER_S = 30.0
_CHANGES_PER_TXN = 50
"""A record has some hundred bytes, and seldom some thousand."""
_ATTEMPTS_MAX = 20


class Restore(NamedTuple):
    """A restore that has not ended."""

    gate: Gate
    gate_revision: int
    began: int
    """etcd's revision in which the new incarnation began."""
    nodes: tuple[Awaited, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Whose records are still waited for."""
        return tuple(node.name for node in self.nodes if node.standing in ("awaited", "new") and self._counts(node))

    @property
    def left_out(self) -> tuple[str, ...]:
        """Without whose records an operator goes on."""
        return tuple(node.name for node in self.nodes if node.standing == "left out" and self._counts(node))

    def _counts(self, node: Awaited) -> bool:
        return node.name in self.gate.nodes


class Restoring:
    """The controller's part in a restore."""

    def __init__(self, etcd: EtcdClient, keys: Keys, check_store: Callable[[], Awaitable[Step]]) -> None:
        """`check_store` looks whether etcd has gone back, and makes it whole then: see `Custody.check`."""
        self._etcd = etcd
        self._keys = keys
        self._check_store = check_store
        self._told: tuple[str, tuple[str, ...]] | None = None
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Look whenever nodes have told something, and by the clock; until cancelled."""
        async with self._etcd.watch(self._keys.restores) as watch:
            async for view in watch.follow(every_s=LOOK_OVER_S):
                try:
                    if self._keys.restore_noticed in view.items:
                        await self._check_store()
                    await self.check()
                except MftError as error:
                    self._log.warning("the restore cannot go on now; trying again", reason=str(error))

    async def read(self) -> Restore | None:
        """Say how far it is; None: there is none, or it has ended.

        Raises:
            Unavailable: etcd cannot be reached.
            MftError: a newer program wrote something that this one cannot read.
        """
        keys = self._keys
        gets: list[Operation] = [Get(keys.incarnation), Get(keys.restore), GetPrefix(keys.restores)]
        result = await self._etcd.kv.txn(when=[], then=gets, idempotent=True)
        incarnation, standing = result.listing(0).kv, result.listing(1).kv
        if incarnation is None or standing is None:
            return None
        gate = decode_gate(standing.value)
        if gate.incarnation.encode() != incarnation.value:
            return None  # Of a life before; the next one brings its own.
        values = {kv.key: kv.value for kv in result.listing(2).kvs}
        return Restore(gate, standing.mod_revision, incarnation.mod_revision, awaited(keys, gate, values))

    async def check(self) -> Restore | None:
        """Go on as far as possible; say what is left, if it is waited for somebody.

        Raises:
            Unavailable: etcd cannot be reached.
            MftError: a newer program wrote something that this one cannot read.
        """
        restore = await self.read()
        if restore is None:
            return None
        if restore.missing:
            now = restore.gate.incarnation, restore.missing
            if now != self._told:
                self._told = now
                self._log.warning("outbound transfers wait for the records of nodes", nodes=", ".join(restore.missing))
            return restore
        # A backup may have been made while this gate stood, with all records in it. What is written into a store that
        # went back would look newer than what nodes have done since.
        if await self._check_store() != "none":
            return await self.read()
        await self._merge(restore)
        return None

    async def leave_out(self, names: Sequence[str], by: str) -> Restore | None:
        """Go on without the records of these nodes. Returns what is left.

        Raises:
            Conflict: there is no restore, or the node has posted its records.
            NotFound: it is not waited for a node of that name.
            Invalid: no node is named.
            Unavailable: etcd cannot be reached.
        """
        if not names:
            raise Invalid("name at least one node", (Problem("without", "expected names of nodes"),))
        restore = await self.read()
        if restore is None:
            raise Conflict("there is no restore of etcd under way that waits for nodes")
        standings = {node.name: node.standing for node in restore.nodes if node.name in restore.gate.nodes}
        names = list(dict.fromkeys(names))  # Etcd refuses a transaction that writes one key twice.
        for name in names:
            if name not in standings:
                raise NotFound(f"the restore does not wait for a node {name}")
            if standings[name] == "posted":
                raise Conflict(f"node {name} has posted its records: they are used")
        puts: list[Operation] = [
            Put(self._keys.restore_left_out(name), encode(LeftOut(by=by, at=time.time()))) for name in names
        ]
        if not (await self._etcd.kv.txn(when=self._stands(restore), then=puts, idempotent=True)).succeeded:
            raise Conflict("the restore has just ended, or another one began: look again")
        self._log.warning("outbound transfers go on without the records of nodes", nodes=", ".join(names), by=by)
        return await self.check()

    async def _merge(self, restore: Restore) -> None:
        """Write what journal and ledgers lack, then allow leading."""
        knowledge = await self._knowledge(restore)
        for _ in range(_ATTEMPTS_MAX):
            journal = (await self._etcd.kv.get_prefix(self._keys.journals)).kvs
            ledgers = await self._ledgers(knowledge.transfers(journal))
            changes = await asyncio.to_thread(knowledge.changes, journal, ledgers, restore.left_out)
            if not changes:
                await self._end(restore)
                return
            self._log.info("the restore writes what etcd has lost", keys=len(changes))
            for start in range(0, len(changes), _CHANGES_PER_TXN):
                # In this order: after a second restore a ledger's entry that is newer than a record ends it.
                if not await self._write(restore, changes[start : start + _CHANGES_PER_TXN]):
                    break
        raise Unavailable("others write the journal all the time, although nobody may lead")

    async def _knowledge(self, restore: Restore) -> Knowledge:
        listing = await self._etcd.kv.get_prefix(self._keys.posted_records)
        posted = {node.name for node in restore.nodes if node.standing == "posted"}

        def read() -> Knowledge:
            nodes = ((kv.key.removeprefix(self._keys.posted_records).rpartition("/")[0], kv) for kv in listing.kvs)
            portions = (decode_portion(kv.value) for node, kv in nodes if node in posted)
            return Knowledge(self._keys, restore.gate, restore.began, portions)

        return await asyncio.to_thread(read)

    async def _ledgers(self, transfers: Set[str]) -> list[KeyValue]:
        prefixes = [self._keys.ledger(transfer) for transfer in sorted(transfers)]
        return [kv for prefix in prefixes for kv in (await self._etcd.kv.get_prefix(prefix)).kvs]

    async def _write(self, restore: Restore, changes: Sequence[Change]) -> bool:
        """Write some of it. Says whether all was as it had been read.

        Raises:
            Conflict: another controller has ended it, or another restore began.
        """
        when = [mod_revision(change.operation.key) == change.mod_revision for change in changes]
        then = [change.operation for change in changes]
        written = await self._etcd.kv.txn(when=[*self._stands(restore), *when], then=then, idempotent=True)
        # A key that was not as it was read is seen at the next attempt: another controller does the same.
        if not written.succeeded:
            now = await self.read()
            if now is None or now.gate_revision != restore.gate_revision:
                raise Conflict("the restore has just ended, or another one began")
        return written.succeeded

    async def _end(self, restore: Restore) -> None:
        end: list[Operation] = [
            Delete(self._keys.restore),
            DeletePrefix(self._keys.restores),
            DeletePrefix(self._keys.posted_records),
        ]
        if (await self._etcd.kv.txn(when=self._stands(restore), then=end)).succeeded:
            self._log.info("the restore is over, nodes may lead", incarnation=restore.gate.incarnation)

    def _stands(self, restore: Restore) -> list[Condition]:
        return [
            value(self._keys.incarnation) == restore.gate.incarnation.encode(),
            mod_revision(self._keys.restore) == restore.gate_revision,
        ]
