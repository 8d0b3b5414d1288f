"""Who of a group's candidates reaches which of its partners: asked and answered through etcd, so without a controller.

    probe/<group>/ask              leased by the leader: Ask
    probe/<group>/answers/<node>   leased by each other candidate: Answer

Rare and tiny: a leader asks only after a partner has failed it for a while.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from typing import TypeVar

import structlog
from msgspec import DecodeError

from mft.aio import Latest, backoff, cancellations, first_error, give_way, is_only
from mft.cluster.keys import Keys
from mft.cluster.membership import Answer, Ask, decode_answer, decode_ask, encode
from mft.errors import LeadershipLost, MftError
from mft.etcd.client import EtcdClient
from mft.etcd.election import Leadership
from mft.etcd.keeper import LeaseKeeper
from mft.etcd.ops import Delete, DeletePrefix, Operation, Put
from mft.model.config import Config
from mft.transfers.dispatcher import groups_of

PROBE_S_MAX = 10.0
"""How long one attempt to reach the partners may take."""
_ANSWER_S_MAX = PROBE_S_MAX + 3.0
"""How long the asking leader waits: an attempt, and the way to etcd and back."""

T = TypeVar("T")

Try = Callable[[Sequence[str], float], Coroutine[None, None, frozenset[str]]]
"""Has a worker try these locations within so many seconds; see `OutboundPool.probe`."""


class Probes:
    """Both sides of it: asks on behalf of a leadership here, and answers what leaders elsewhere ask."""

    def __init__(
        self, *, name: str, etcd: EtcdClient, keys: Keys, keeper: LeaseKeeper, config: Latest[Config], attempt: Try
    ) -> None:
        self._name = name
        self._etcd = etcd
        self._keys = keys
        self._keeper = keeper
        self._config = config
        self._attempt = attempt
        self._seen: Latest[Mapping[str, bytes]] = Latest({})
        self._answered: dict[str, str] = {}
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Answer what leaders ask, until cancelled. The border where trouble with that ends: leading goes on."""
        since = cancellations()
        for wait_s in backoff(0.5, 30.0):
            try:
                async with asyncio.TaskGroup() as tasks, self._etcd.watch(self._keys.probes) as watch:
                    async for view in watch.follow():
                        self._seen.set({key: kv.value for key, kv in view.items.items()})
                        for group, ask in self._new_asks():
                            tasks.create_task(self._answer(group, ask), name=f"probe-answer:{group}")
            except BaseExceptionGroup as failed:
                give_way(since)
                if not is_only(failed, MftError):
                    raise
                self._log.warning("what other leaders ask cannot be seen", reason=str(first_error(failed)))
            await asyncio.sleep(wait_s)

    async def ask(
        self, group: str, leadership: Leadership, locations: Set[str], working: Set[str], others: Set[str]
    ) -> dict[str, frozenset[str]]:
        """Have these candidates and this instance try the locations; give candidate → locations that it reaches.

        `working` ones are reached here for certain and not tried again. Who does not answer in time is left out.

        Raises:
            LeadershipLost: it has ended.
            Unavailable: etcd cannot be asked.
        """
        ask = Ask(id=secrets.token_hex(8), by=self._name, locations=tuple(sorted(locations)))
        key = self._keys.probe_ask(group)
        begin: list[Operation] = [
            DeletePrefix(self._keys.probe_answers(group)),
            Put(key, encode(ask), leadership.lease_id),
        ]
        if not (await self._etcd.kv.txn(when=[leadership.fence], then=begin, idempotent=True)).succeeded:
            raise LeadershipLost(f"another instance leads group {group}")
        async with asyncio.TaskGroup() as tasks:
            own = tasks.create_task(self._attempt(sorted(locations - working), PROBE_S_MAX), name=f"probe:{group}")
            reached = await self._answers(group, ask, others)
            reached[self._name] = await own | (working & locations)
        done: list[Operation] = [Delete(key), DeletePrefix(self._keys.probe_answers(group))]
        await self._etcd.kv.txn(when=[leadership.fence], then=done, idempotent=True)
        return reached

    async def _answers(self, group: str, ask: Ask, others: Set[str]) -> dict[str, frozenset[str]]:
        """Wait until all have answered, or long enough."""
        reached: dict[str, frozenset[str]] = {}
        try:
            async with asyncio.timeout(_ANSWER_S_MAX):
                async for values in self._seen.follow():
                    reached = self._answers_in(values, group, ask.id)
                    if others <= reached.keys():
                        break
        except TimeoutError:
            pass
        return reached

    def _answers_in(self, values: Mapping[str, bytes], group: str, id: str) -> dict[str, frozenset[str]]:
        prefix = self._keys.probe_answers(group)
        reached = {}
        for key, value in values.items():
            if key.startswith(prefix) and (answer := _decoded(decode_answer, value)) and answer.id == id:
                reached[key.removeprefix(prefix)] = frozenset(answer.reachable)
        return reached

    def _new_asks(self) -> list[tuple[str, Ask]]:
        """Take what is asked of this instance and was not answered yet."""
        asks = []
        for group in groups_of(self._config.value.transfers):
            value = self._seen.value.get(self._keys.probe_ask(group))
            ask = _decoded(decode_ask, value) if value is not None else None
            if ask and ask.by != self._name and self._answered.get(group) != ask.id:
                self._answered[group] = ask.id
                asks.append((group, ask))
        return asks

    async def _answer(self, group: str, ask: Ask) -> None:
        found = await self._attempt(ask.locations, PROBE_S_MAX)
        self._log.info("tried partners for the leader", leader_group=group, leader=ask.by, reached=sorted(found))
        answer = Answer(id=ask.id, reachable=tuple(sorted(found)))
        lease = self._keeper.state.value.lease_id
        if not lease:
            return  # Not a candidate at this moment either.
        try:
            await self._etcd.kv.put(
                self._keys.probe_answer(group, self._name), encode(answer), lease=lease, idempotent=True
            )
        except MftError as error:
            self._log.warning("the answer to a leader cannot be written", leader_group=group, reason=str(error))


def _decoded(decode: Callable[[bytes], T], value: bytes) -> T | None:
    """Decode what another instance wrote; None if it is not understood, for it may be of another program version."""
    try:
        return decode(value)
    except DecodeError:
        return None
