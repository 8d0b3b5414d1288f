"""What administrators see of transfers and ask of them. A pause goes through etcd, all else to the leader, by link."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple

import msgspec
from msgspec import Struct

from mft.cluster import steering
from mft.cluster.keys import Keys
from mft.cluster.steering import Steer
from mft.controller import fleet
from mft.controller.deliveries import DeliveryStore
from mft.controller.deliveries_rows import Found, Trouble
from mft.controller.link import Links, progress_of
from mft.errors import Conflict, MftError, NotFound, Unavailable
from mft.etcd.client import EtcdClient
from mft.model.config import Config
from mft.model.transfers import TransferSpec, leader_group_of
from mft.pb.link.v1 import link_pb2 as link

LOOK_S_MAX = 4.0
"""How long a list of transfers waits for one leader's answer."""
TROUBLES_TOLD = 10
WATCH_S = 0.5
RATE_S = 5.0
"""Over how long a rate is taken."""


_States = tuple[Mapping[str, link.TransferState], str]
"""What a leader says of its transfers, or nothing and why it could not be asked."""


class _Leader(NamedTuple):
    """Who leads a transfer, and what it says; no name: nobody does."""

    name: str
    states: Mapping[str, link.TransferState]
    why: str


class _Told(Struct, frozen=True, kw_only=True):
    """What a leader says of a transfer, as far as it is used here: leaders may run a newer program."""

    state: str = "unknown"
    reason: str = ""
    next_pass_at: float | None = None
    last_pass_at: float | None = None
    last_error: str = ""
    failures: int = 0
    delivered: int = 0


class Transfer(NamedTuple):
    """One transfer as an administrator sees it; see admin.proto."""

    id: str
    spec: TransferSpec
    leader: str
    state: str
    reason: str
    told: _Told
    pause: Steer | None
    open: tuple[link.OpenDelivery, ...]
    open_total: int
    troubles: tuple[Trouble, ...]


class Steered(NamedTuple):
    """What became of a request."""

    note: str
    instance: str = ""


class Rate(NamedTuple):
    """One run under way, with its speed."""

    instance: str
    run: link.RunProgress
    bytes_s: float


class Transfers:
    """Transfers, deliveries, and steering them."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        links: Links,
        store: DeliveryStore,
        config: Callable[[], Awaitable[Config]],
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self._links = links
        self._config = config
        self.deliveries = store

    async def list(self, wanted: str = "") -> tuple[Transfer, ...]:
        """Say of each transfer, or of the one wanted, what it does now. Raises `NotFound` if there is none such."""
        config = await self._config()
        if wanted:
            _known(config, wanted)
        specs = {id: spec for id, spec in sorted(config.transfers.items()) if wanted in {"", id}}
        leaders, pauses = await self._leaders(), await steering.read_pauses(self._etcd.kv, self._keys)
        groups = {id: leader_group_of(id, spec) for id, spec in specs.items()}
        answers = await self._look_at({leaders[group] for group in groups.values() if group in leaders}, wanted)
        found = []
        for id, spec in specs.items():
            leader = leaders.get(groups[id], "")
            troubles = await self.deliveries.troubles(id, TROUBLES_TOLD) if wanted else ()
            found.append(_transfer(id, spec, _Leader(leader, *answers.get(leader, ({}, ""))), pauses.get(id), troubles))
        return tuple(found)

    async def run(self, transfer: str, by: str) -> Steered:
        """Have a pass made now.

        Raises:
            NotFound: there is no such transfer.
            Conflict: it is disabled.
            Unavailable: nobody leads it, or the leader cannot be asked.
        """
        leader = await self._ask(transfer, link.Request(run_transfer=link.RunTransfer(transfer=transfer, reason=by)))
        return Steered(f"transfer {transfer} looks for files now, on {leader}", leader)

    async def cancel(self, transfer: str, by: str) -> Steered:
        """End the pass under way. Raises as `run` does."""
        leader = await self._ask(transfer, link.Request(cancel_transfer=link.CancelTransfer(transfer=transfer, by=by)))
        return Steered(
            f"the run of transfer {transfer} on {leader} is cancelled; what it left open is finished by the next one",
            leader,
        )

    async def pause(self, transfer: str, by: str, reason: str) -> Steered:
        """Have it begin nothing until resumed, whoever leads. Raises `NotFound`, `Unavailable`."""
        _known(await self._config(), transfer)
        await steering.pause(self._etcd.kv, self._keys, transfer, by, reason)
        return Steered(f"transfer {transfer} is paused; files on their way are finished")

    async def resume(self, transfer: str, by: str) -> Steered:
        """Let it go on. Raises `Unavailable`."""
        if not await steering.resume(self._etcd.kv, self._keys, transfer, by):
            _known(await self._config(), transfer)
            return Steered(f"transfer {transfer} was not paused")
        return Steered(f"transfer {transfer} goes on")

    async def resend(self, transfer: str, delivery: str, by: str) -> Steered:
        """Have a held delivery sent again.

        Raises:
            NotFound: nobody knows it.
            Conflict: it is not held.
            Unavailable: nobody leads the transfer, or the leader cannot be asked.
        """
        request = link.Request(resend_delivery=link.ResendDelivery(transfer=transfer, delivery=delivery, by=by))
        try:
            leader = await self._ask(transfer, request)
        except NotFound:
            known = await self.deliveries.known(delivery)
            if known is None:
                raise
            raise Conflict(_why_not(known)) from None
        return Steered(f"delivery {delivery} is sent again, by {leader}", leader)

    async def watch(self, transfer: str) -> AsyncGenerator[tuple[Rate, ...], None]:
        """Yield all runs under way, of one transfer or of all, whenever they changed. Raises `NotFound`."""
        if transfer:
            _known(await self._config(), transfer)
        rates = Rates()
        async with aclosing(progress_of(self._links, WATCH_S)) as turns:
            async for turn in turns:
                now = time.monotonic()
                runs = [(name, run) for name, progress in sorted(turn.items()) for run in progress.runs]
                yield tuple(
                    Rate(name, run, rates.of((name, run.transfer, run.run), run.bytes_done, now))
                    for name, run in runs
                    if transfer in {"", run.transfer}
                )

    async def _leaders(self) -> Mapping[str, str]:
        """Leader group → who leads it."""
        listing = await self._etcd.kv.get_prefix(self._keys.elections)
        return fleet.elections(self._keys, listing.kvs).leaders()

    async def _ask(self, transfer: str, request: link.Request) -> str:
        """Ask the leader of a transfer. Returns who that is."""
        spec = _known(await self._config(), transfer)
        if not spec.enabled:
            raise Conflict(f"transfer {transfer} is disabled in the config: set `enabled = true` and apply")
        group = leader_group_of(transfer, spec)
        leader = (await self._leaders()).get(group)
        if leader is None:
            raise Unavailable(
                f"no instance leads group {group}, to which transfer {transfer} belongs: "
                "see which are ready with `mft-admin nodes list`"
            )
        await self._links.session(leader).ask(request)
        return leader

    async def _look_at(self, leaders: set[str], wanted: str) -> Mapping[str, _States]:
        """Ask several leaders at one time."""
        async with asyncio.TaskGroup() as tasks:
            asked = {one: tasks.create_task(self._look(one, wanted), name=f"look:{one}") for one in sorted(leaders)}
        return {one: task.result() for one, task in asked.items()}

    async def _look(self, leader: str, wanted: str) -> _States:
        """Ask one leader for its transfers. Returns them, or none and why."""
        request = link.Request(read_transfers=link.ReadTransfers(transfer=wanted))
        try:
            answer = await self._links.session(leader).ask(request, LOOK_S_MAX)
        except MftError as error:
            return {}, str(error)
        return {state.transfer: state for state in answer.transfers}, ""


class Rates:
    """How fast runs are, over the last seconds."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, int], deque[tuple[float, int]]] = {}

    def of(self, run: tuple[str, str, int], bytes_done: int, now: float) -> float:
        """Note how far a run is now, and give its bytes a second."""
        seen = self._seen.setdefault(run, deque())
        seen.append((now, bytes_done))
        while len(seen) > 2 and now - seen[0][0] > RATE_S:
            seen.popleft()
        for other in [other for other, marks in self._seen.items() if now - marks[-1][0] > 60.0]:
            del self._seen[other]
        (began, at_first), elapsed = seen[0], now - seen[0][0]
        return max(0.0, (bytes_done - at_first) / elapsed) if elapsed > 0 and began < now else 0.0


def _known(config: Config, transfer: str) -> TransferSpec:
    spec = config.transfers.get(transfer)
    if spec is None:
        raise NotFound(f"the config has no transfer {transfer}; `mft-admin transfers list` shows which it has")
    return spec


def _transfer(
    id: str,
    spec: TransferSpec,
    leader: _Leader,
    pause: Steer | None,
    troubles: tuple[Trouble, ...],
) -> Transfer:
    state = leader.states.get(id)
    told = _told(state)
    word, reason = told.state, told.reason or told.last_error
    if not spec.enabled:
        word, reason = "disabled", "`enabled = false` in the config"
    elif not leader.name:
        word, reason = "no leader", f"no instance leads group {leader_group_of(id, spec)} now"
    elif state is None:
        word, reason = "unknown", leader.why or f"{leader.name} has not got it yet"
    if pause is not None and spec.enabled:
        word, reason = "paused", pause.reason
    return Transfer(
        id=id,
        spec=spec,
        leader=leader.name,
        state=word,
        reason=reason,
        told=told,
        pause=pause,
        open=tuple(state.open) if state else (),
        open_total=state.open_total if state else 0,
        troubles=troubles,
    )


def _told(state: link.TransferState | None) -> _Told:
    if state is None:
        return _Told()
    try:
        return msgspec.json.decode(state.status, type=_Told)
    except msgspec.DecodeError:
        return _Told()


def _why_not(known: Found) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(known.at))
    if known.outcome == "delivered":
        return (
            f"delivery {known.delivery} was delivered at {at} as {known.destination_path}, so it is not held: to send "
            f"the file once more, put it into the source folder again ({known.source_path or 'as it was'}; from the "
            "archive if the transfer keeps one)"
        )
    if known.outcome == "quarantined":
        return (
            f"delivery {known.delivery} is not held any more: it was quarantined at {at}, and then moved to the "
            "transfer's archive.failure_path or taken away by somebody: to send the file, put it into the source "
            f"folder again ({known.source_path or 'as it was'})"
        )
    return (
        f"delivery {known.delivery} is not held: it was {known.outcome} at {at}, and is tried again by itself; "
        "`mft-admin transfers show` says what is open"
    )
