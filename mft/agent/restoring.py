"""Whether this instance may lead at all, and what it tells after etcd was restored from a backup.

It may not while etcd is known to have gone back in time (cluster/life.py), nor while it says that nodes have not posted
their records yet (cluster/restore.py). In the first case this tells the controllers, which begin a new incarnation; in
the second it posts what its own record files say. Inbound connections never wait for any of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import chain
from pathlib import Path
from typing import Any

import structlog

from mft.aio import Latest, backoff
from mft.cluster.keys import Keys
from mft.cluster.life import BEAT_S, Life, Seen
from mft.cluster.restore import Gate, Noticed, Posted, decode_posted, encode
from mft.errors import Exhausted, MftError, Unavailable
from mft.etcd.client import EtcdClient
from mft.etcd.ops import Condition, Operation, Put, create_revision, value
from mft.etcd.watch_stream import WatchTimes
from mft.events import catalogue
from mft.model.delivery import Kept
from mft.transfers.journal import decode_entry
from mft.transfers.recall import Place, Recalled, portions, recall
from mft.transfers.record_file import Committed, RecordFile, read_records

_WATCH_TIMES = WatchTimes(backoff_most_s=2.0)
"""Outbound transfers wait for it after an outage."""
_NOT_KNOWN = "whether etcd is the one that this instance knows was not looked at yet"
_GATE = "etcd was restored or built anew, and nodes have not posted their records yet: see `mft-admin restore status`"


class Restoring:
    """One instance's part in a restore."""

    def __init__(
        self,
        *,
        name: str,
        etcd: EtcdClient,
        keys: Keys,
        life: Life,
        records: RecordFile,
        emit: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self._name = name
        self._etcd = etcd
        self._keys = keys
        self._life = life
        self._records = records
        self._emit = emit
        self.withheld: Latest[str] = Latest(_NOT_KNOWN)
        """Why this instance must not lead; empty: it may."""
        self._gate: Latest[Gate | None] = Latest(None)
        self._one_look = asyncio.Lock()
        self._looks = 0
        """How many were begun."""
        self._seen: Seen | None = None
        """What the last one saw; None: it failed."""
        self._log = structlog.get_logger()

    async def confirm(self) -> str:
        """Give etcd's incarnation, if this instance may lead in it at this moment.

        Raises:
            Unavailable: it may not, or etcd cannot be reached.
        """
        begun = self._looks
        async with self._one_look:
            # Some hundred groups may ask at one time: one look that was begun after they asked answers all.
            seen = self._seen if self._looks > begun and self._seen is not None else await self._look()
        if self.withheld.value:
            raise Unavailable(self.withheld.value)
        if not seen.incarnation:
            raise Unavailable("etcd holds no incarnation: the controller has not set this cluster up yet")
        return seen.incarnation

    async def run(self) -> None:
        """Look at each change and by the clock, and post what is asked for; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._post_at_each_gate(), name="restore:post")
            async with self._etcd.watch(self._keys.meta, times=_WATCH_TIMES) as watch:
                async for _ in watch.follow(every_s=BEAT_S):
                    try:
                        async with self._one_look:
                            await self._look()
                    except MftError as error:
                        self._log.debug("whether etcd has gone back is not known now", reason=str(error))

    async def _look(self) -> Seen:
        self._looks, self._seen = self._looks + 1, None
        try:
            seen = await self._life.beat()
        except (Unavailable, Exhausted):
            raise  # It is as it was. Who wants to lead asks again before.
        except MftError as error:
            self._withhold(str(error))
            raise
        if seen.went_back:
            self._withhold(f"etcd has gone back in time, it was restored from a backup: {seen.went_back}")
            await self._tell_controllers(seen)
        else:
            self._withhold(_GATE if seen.gate is not None else "")
        if seen.gate != self._gate.value:
            self._gate.set(seen.gate)
        self._seen = seen
        return seen

    def _withhold(self, reason: str) -> None:
        before = self.withheld.value
        if reason == before:
            return
        self.withheld.set(reason)
        if reason:
            self._log.warning("this instance does not lead", reason=reason)
            self._emit(catalogue.LEADING_WITHHELD, {"reason": reason})
        elif before != _NOT_KNOWN:
            self._log.info("this instance may lead again")
            self._emit(catalogue.LEADING_PERMITTED, {})

    async def _tell_controllers(self, seen: Seen) -> None:
        """Have a controller begin a new incarnation; it may know etcd for too short a time to see it itself."""
        key = self._keys.restore_noticed
        noticed = Noticed(by=self._name, why=seen.went_back)
        await self._etcd.kv.txn(
            when=[self._is(seen.incarnation), create_revision(key) == 0],
            then=[Put(key, encode(noticed))],
            idempotent=True,
        )

    # ---- posting

    async def _post_at_each_gate(self) -> None:
        posted = ""
        async for gate in self._gate.follow():
            waits = backoff(0.5, 10.0)
            while gate is not None and gate.incarnation != posted and gate is self._gate.value:
                try:
                    await self._post(gate)
                    posted = gate.incarnation
                except (MftError, OSError) as error:
                    self._log.error("this instance's records cannot be posted, trying again", reason=str(error))
                    await asyncio.sleep(next(waits))

    async def _post(self, gate: Gate) -> None:
        """Write what this node knows, then that it is all. Ends without it if another restore came between."""
        before = (await self._etcd.kv.get(self._keys.restore_posted(self._name))).value
        # One that posted as new may have been started without its disk.
        if before is not None and not decode_posted(before).is_new:
            return  # By this instance, before it was restarted.
        standing = await self._standing()
        waiting = self._records.waiting()
        ledgers = await self._ledgers()
        known, is_empty = await asyncio.to_thread(_recall, self._records.folder, waiting, standing, ledgers.keys())
        _leave_out_known(known, ledgers)
        number = 0
        for number, portion in enumerate(portions(known), 1):
            await self._put(gate, Put(self._keys.posted_record(self._name, number), portion))
        # Who has records is not new, whatever else it has lost.
        is_new = is_empty and self._life.is_new
        posted = Posted(deliveries=len(known.open), sources=len(known.ledger), is_new=is_new)
        await self._put(gate, Put(self._keys.restore_posted(self._name), encode(posted)))
        self._log.info("this instance's records are posted", deliveries=posted.deliveries, sources=posted.sources)

    async def _standing(self) -> Set[Place]:
        """Say which deliveries are open by what etcd holds."""
        listing = await self._etcd.kv.get_prefix(self._keys.journals, keys_only=True)
        return {self._keys.delivery_of(kv.key) for kv in listing.kvs}

    async def _ledgers(self) -> Mapping[Place, Kept]:
        """Say which kept sources are delivered by what etcd holds."""
        found = {}
        for kv in (await self._etcd.kv.get_prefix(self._keys.ledgers)).kvs:
            entry = decode_entry(kv)
            found[self._keys.transfer_of(kv.key), entry.path] = entry.source
        return found

    async def _put(self, gate: Gate, put: Operation) -> None:
        """Write this as long as the gate stands."""
        when = [self._is(gate.incarnation), create_revision(self._keys.restore) > 0]
        await self._etcd.kv.txn(when=when, then=[put], idempotent=True)

    def _is(self, incarnation: str) -> Condition:
        return value(self._keys.incarnation) == incarnation.encode()


def _leave_out_known(known: Recalled, ledgers: Mapping[Place, Kept]) -> None:
    """Take away what etcd's own ledgers say already, which is as a rule almost all."""
    for place, kept in ledgers.items():
        if place in known.ledger and known.ledger[place].kept == kept:
            del known.ledger[place]


def _recall(
    folder: Path, waiting: Sequence[Committed], standing: Set[Place], sources: Set[Place]
) -> tuple[Recalled, bool]:
    """Put together what files say, and what waits for a disk that is full; say whether that is nothing. Blocks."""
    entries: Iterator[Committed] = chain(read_records(folder), waiting)
    first = next(entries, None)
    return recall(chain([first] if first else [], entries), standing, sources), first is None
