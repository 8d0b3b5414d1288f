"""How far the schedules of one leadership's transfers are, in etcd, fenced as the journal is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set

import msgspec
import structlog
from msgspec import json

from mft.aio import backoff
from mft.cluster.keys import Keys
from mft.errors import Conflict, LeadershipLost, Unavailable
from mft.etcd.kv import Kv
from mft.etcd.ops import Get, Put, create_revision, mod_revision, value
from mft.etcd.records import KeyValue
from mft.model.delivery import Term
from mft.transfers.starting import SlotState

_RETRY_S_FIRST, _RETRY_S_MOST = 0.05, 1.0

_encode = json.Encoder().encode
_decode = json.Decoder(SlotState).decode


class SlotStore:
    """`schedule/<transfer>` of all transfers, as this term has read and written it. Each has one writer at a time."""

    def __init__(self, kv: Kv, keys: Keys, term: Term, leader_key: str) -> None:
        self._kv = kv
        self._keys = keys
        self._term = term
        self._leader_key = leader_key
        self._revisions: dict[str, int] = {}
        self._states: dict[str, SlotState] = {}
        self._log = structlog.get_logger()

    @property
    def states(self) -> Mapping[str, SlotState]:
        """Transfer → how far its schedule is; none for one that never had any."""
        return self._states

    async def load(self, transfers: Set[str] | None = None) -> None:
        """Read the state of all transfers, in one listing; with `transfers` only theirs is learned.

        Raises:
            Unavailable: etcd cannot be reached.
        """
        found = {kv.key.removeprefix(self._keys.schedules): kv for kv in await self._listing()}
        for transfer in found.keys() if transfers is None else transfers:
            self._learn(transfer, found.get(transfer))

    async def _listing(self) -> tuple[KeyValue, ...]:
        return (await self._kv.get_prefix(self._keys.schedules)).kvs

    async def put(self, transfer: str, state: SlotState) -> None:
        """Write the state, if it is another than what is written; return when etcd has agreed.

        Raises:
            LeadershipLost: the term has ended; nothing was or will be written.
            Conflict: somebody else wrote it; what they wrote is now known here.
        """
        if self._states.get(transfer, SlotState()) == state:
            return
        key, wanted = self._keys.schedule(transfer), _encode(state)
        holds = [
            create_revision(self._leader_key) == self._term.create_revision,
            value(self._keys.incarnation) == self._term.incarnation.encode(),
        ]
        for wait_s in backoff(_RETRY_S_FIRST, _RETRY_S_MOST):
            seen = self._revisions.get(transfer, 0)
            try:
                result = await self._kv.txn(when=[*holds, mod_revision(key) == seen], then=[Put(key, wanted)])
                if result.succeeded:
                    self._revisions[transfer], self._states[transfer] = result.header.revision, state
                    return
            except Unavailable as error:
                self._log.warning("a schedule: the outcome of a write is unknown, reading again", reason=str(error))
                await asyncio.sleep(wait_s)
            try:
                read = await self._kv.txn(when=holds, then=[Get(key)], idempotent=True)
            except Unavailable:
                continue
            if not read.succeeded:
                raise LeadershipLost("another term has begun")
            kv = read.listing(0).kv
            if kv is not None and kv.mod_revision != seen:
                self._learn(transfer, kv)
                if kv.value != wanted:
                    raise Conflict(f"the schedule of {transfer} is not as this term left it")
                return

    def _learn(self, transfer: str, kv: KeyValue | None) -> None:
        if kv is None:
            self._revisions.pop(transfer, None)
            self._states.pop(transfer, None)
            return
        self._revisions[transfer] = kv.mod_revision
        try:
            self._states[transfer] = _decode(kv.value)
        except msgspec.DecodeError:
            # Of a newer program: as if there were none, so the schedule begins anew, with nothing missed.
            self._states[transfer] = SlotState()
