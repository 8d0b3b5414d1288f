"""One leader group: campaign, and while the term lasts make the passes of the group's transfers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

import structlog

from mft.aio import Latest, backoff, boottime, cancel_and_wait, first_error, give_way, is_only
from mft.cluster.keys import Keys
from mft.errors import LeadershipLost, MftError, Unavailable
from mft.etcd.election import Election, Leadership
from mft.etcd.kv import Kv
from mft.events import catalogue
from mft.model.config import Config
from mft.model.delivery import Kept, Record, Term
from mft.model.transfers import TransferSpec, leader_group_of
from mft.transfers.journal import Journal
from mft.transfers.schedule import SWEEP_FIRST, next_pass, next_sweep

Commit = Callable[[Mapping[str, Record], tuple[str, ...]], Awaitable[None]]
"""Writes (puts, forgets) of one transfer to the journal, fenced."""


class PassResult(Protocol):
    """How a pass ended."""

    @property
    def error(self) -> str:
        """Why the pass as a whole could not go on; empty if it could."""
        ...

    @property
    def failed(self) -> int:
        """How many files failed."""
        ...

    @property
    def gone(self) -> tuple[str, ...]:
        """Kept sources that are no longer there."""
        ...


class MakePass(Protocol):
    """Has a worker make one pass over a transfer.

    Raises:
        Unavailable: the worker died; what was open is in the journal.
    """

    async def __call__(
        self,
        *,
        transfer: str,
        group: str,
        term: Term,
        deadline: float,
        records: Mapping[str, Record],
        ledger: Mapping[str, Kept],
        sweep: bool,
        commit: Commit,
    ) -> PassResult:
        """Make the pass and return how it ended."""
        ...


class _Lead(NamedTuple):
    """One leadership and what belongs to it."""

    leadership: Leadership
    term: Term
    journal: Journal


class Dispatcher:
    """Runs the transfers of one leader group whenever this instance leads it."""

    def __init__(
        self,
        *,
        group: str,
        election: Election,
        kv: Kv,
        keys: Keys,
        config: Latest[Config],
        make_pass: MakePass,
        emit: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self._group = group
        self._election = election
        self._kv = kv
        self._keys = keys
        self._config = config
        self._make_pass = make_pass
        self._emit = emit
        self.leads: Latest[Term | None] = Latest(None)
        self._log = structlog.get_logger().bind(leader_group=group)

    async def run(self) -> None:
        """Dispatch this group's transfers whenever this instance leads; until cancelled, and then resign."""
        waits = backoff(0.2, 5.0)
        while True:
            try:
                async with self._election.campaign() as leadership:
                    waits = backoff(0.2, 5.0)
                    await self._lead(leadership)
            except MftError as error:
                self._log.warning("leading failed, campaigning again", reason=str(error))
            await asyncio.sleep(next(waits))

    async def _lead(self, leadership: Leadership) -> None:
        """Work for as long as the term lasts. Leaving this, for whatever reason, resigns."""
        term = Term(await self._incarnation(), leadership.create_revision)
        journal = Journal(self._kv, self._keys, term, leadership.key)
        self._log.info("this instance leads", term=term.create_revision)
        self._emit(catalogue.LEADER_GAINED, {"leader_group": self._group, "term": term.create_revision})
        self.leads.set(term)
        try:
            async with asyncio.TaskGroup() as tasks:
                writes = tasks.create_task(journal.run(), name=f"journal:{self._group}")
                passes = tasks.create_task(self._passes(_Lead(leadership, term, journal)), name=f"passes:{self._group}")
                await leadership.lost.wait()
                # Before the lease ends: the next leader may already be reading the journal.
                await cancel_and_wait(passes)
                await cancel_and_wait(writes)
        except BaseExceptionGroup as group:
            give_way()
            if not is_only(group, MftError):
                raise
            raise first_error(group) from group
        finally:
            self.leads.set(None)
            self._log.info("this instance leads no more", term=term.create_revision)
            self._emit(catalogue.LEADER_LOST, {"leader_group": self._group, "term": term.create_revision})

    async def _incarnation(self) -> str:
        value = (await self._kv.get(self._keys.incarnation)).value
        if value is None:
            raise Unavailable("etcd holds no incarnation: the controller has not set this cluster up yet")
        return value.decode()

    async def _passes(self, lead: _Lead) -> None:
        """Keep one task for each transfer of the group, as the config says now."""
        running: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            async for config in self._config.follow():
                wanted = {id for id, spec in config.transfers.items() if leader_group_of(id, spec) == self._group}
                for id in running.keys() - wanted:
                    await cancel_and_wait(running.pop(id))
                # One that ended by itself saw its transfer leave the config, which may have come back since.
                for id in sorted(id for id in wanted if id not in running or running[id].done()):
                    work = self._transfer(id, lead)
                    running[id] = tasks.create_task(work, name=f"transfer:{id}")

    async def _transfer(self, id: str, lead: _Lead) -> None:
        """Make pass after pass of one transfer."""

        async def commit(puts: Mapping[str, Record], forgets: tuple[str, ...]) -> None:
            try:
                await lead.journal.commit(id, puts, forgets)
            except LeadershipLost as error:
                lead.leadership.end(error.message)  # The journal may know before the election's watch does.
                raise

        await self._load(id, lead.journal)
        failures, sweep = 0, SWEEP_FIRST
        while True:
            began = boottime()
            spec = self._config.value.transfers.get(id)
            if spec is None:
                return  # Taken out of the config.
            lead.leadership.check()
            problem, files_failed = await self._pass(id, spec, lead, commit, sweep=began >= sweep.due)
            sweep = next_sweep(sweep, began, problem, files_failed)
            failures = failures + 1 if problem else 0
            if problem:
                self._log.warning("pass failed", transfer=id, failures=failures, reason=problem)
                self._emit(catalogue.RUN_FAILED_WILL_RETRY, {"transfer": id, "failures": failures, "reason": problem})
            await self._wait_until(next_pass(spec, began, failures), id, spec)

    async def _wait_until(self, due: float, id: str, spec: TransferSpec) -> None:
        """Wait for the time, or for the transfer to be changed: who changes it wants to see what comes of it."""
        try:
            async with asyncio.timeout(max(0.0, due - boottime())):
                async for config in self._config.follow():
                    if config.transfers.get(id) != spec:
                        return
        except TimeoutError:
            pass

    async def _pass(self, id: str, spec: TransferSpec, lead: _Lead, commit: Commit, *, sweep: bool) -> tuple[str, int]:
        """Make one pass. The border where a run's failure ends.

        Returns why it failed as a whole, or nothing; and how many files failed.
        """
        try:
            # Else a write of the run before, whose worker has died, could come after this run has read the records.
            await lead.journal.settled(id)
            result = await self._make_pass(
                transfer=id,
                group=self._group,
                term=lead.term,
                deadline=lead.leadership.deadline_s,
                records=lead.journal.open_records(id),
                ledger={} if spec.delete_source else lead.journal.ledger(id),
                sweep=sweep,
                commit=commit,
            )
            await lead.journal.forget_sources(id, result.gone)
        except LeadershipLost:
            raise
        except MftError as error:
            return str(error), 0
        return result.error, result.failed

    async def _load(self, id: str, journal: Journal) -> None:
        for wait_s in backoff(0.1, 2.0):
            try:
                return await journal.load(id)
            except Unavailable as error:
                self._log.warning("the journal cannot be read", transfer=id, reason=str(error))
            await asyncio.sleep(wait_s)
        raise AssertionError("backoff goes on for ever")


def groups_of(transfers: Mapping[str, TransferSpec]) -> frozenset[str]:
    """Name the leader groups of these transfers."""
    return frozenset(leader_group_of(id, spec) for id, spec in transfers.items())
