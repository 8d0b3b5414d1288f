"""The outbound worker: makes the passes that the agent asks for, and nothing the agent did not permit."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from mft.aio import Latest, boottime, cancel_and_wait
from mft.errors import Conflict, LeadershipLost, MftError, NotFound, Unavailable
from mft.model.config import Config
from mft.model.delivery import Record, Term
from mft.model.transfers import archive_location_of, locations_of
from mft.transfers import work
from mft.transfers.delivery import Permit, RunContext
from mft.transfers.failures import FOREIGN, classify, internal
from mft.transfers.located import LocatedRemote, Role
from mft.transfers.memory import Memory
from mft.transfers.rates import Limits
from mft.transfers.remotes.pool import RemotePool
from mft.transfers.remotes.visits import Visits
from mft.transfers.run import Tally, run_pass
from mft.transfers.taking import Stability
from mft.worker.frames import (
    Cancel,
    Channel,
    Commit,
    Configure,
    Configured,
    Drain,
    Emit,
    Finish,
    Frame,
    Order,
    Ping,
    Pong,
    Probe,
    Probed,
    Ran,
    Ready,
    Recorded,
    Run,
)
from mft.worker.frames import (
    Permit as PermitFrame,
)
from mft.worker.probing import reachable
from mft.worker.progress import RunProgress

EXIT_DEADLINE = 70
"""Exit status of a worker whose term ended while its agent was silent."""


class FrameJournal:
    """The journal as a worker has it: each write is asked of the agent, which holds the term and talks to etcd.

    What single deliveries ask for in one turn of the loop goes in one frame, and so, as a rule, in one transaction:
    those that began together stay together. Each has an answer of its own.
    """

    def __init__(self, channel: Channel[Order], run: int, seqs: itertools.count[int]) -> None:
        self._channel = channel
        self._run = run
        self._seqs = seqs
        self._puts: dict[str, tuple[Record, asyncio.Future[None]]] = {}
        self._forgets: dict[str, asyncio.Future[None]] = {}
        self._waiting: dict[int, Callable[[Recorded], None]] = {}
        self._is_due = False

    async def put(self, delivery: str, record: Record) -> None:
        """Write this record; see `mft.transfers.context.Journal`."""
        future = self._later()
        self._puts[delivery] = (record, future)
        await future

    async def forget(self, delivery: str) -> None:
        """Remove the delivery's record."""
        future = self._forgets[delivery] = self._later()
        await future

    async def put_all(self, records: Mapping[str, Record]) -> Mapping[str, MftError]:
        """Write these records, in a frame of their own."""
        return await self._answer_of(Commit(seq=next(self._seqs), run=self._run, puts=dict(records)))

    async def forget_all(self, deliveries: Sequence[str]) -> Mapping[str, MftError]:
        """Remove these records."""
        return await self._answer_of(Commit(seq=next(self._seqs), run=self._run, forgets=tuple(deliveries)))

    def answer(self, frame: Recorded) -> None:
        """Give the agent's answer to those who wait for it here."""
        if waiting := self._waiting.pop(frame.seq, None):
            waiting(frame)

    async def _answer_of(self, commit: Commit) -> Mapping[str, MftError]:
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._ask(commit, partial(_settle, future))
        answer = await future
        if answer.lost:
            raise LeadershipLost(answer.error)
        if answer.error:
            return {delivery: Conflict(answer.error, code=FOREIGN) for delivery in (*commit.puts, *commit.forgets)}
        return {delivery: Conflict(error, code=FOREIGN) for delivery, error in answer.errors.items()}

    def _later(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._flush)
        return loop.create_future()

    def _flush(self) -> None:
        """Ask for what has gathered. What is forgotten goes apart: it waits for events to be stored first."""
        self._is_due = False
        # Whoever was cancelled since has not asked.
        puts = {delivery: put for delivery, put in self._puts.items() if not put[1].done()}
        forgets = {delivery: future for delivery, future in self._forgets.items() if not future.done()}
        self._puts, self._forgets = {}, {}
        if puts:
            waiting = {delivery: future for delivery, (_, future) in puts.items()}
            records = {delivery: record for delivery, (record, _) in puts.items()}
            self._ask(Commit(seq=next(self._seqs), run=self._run, puts=records), partial(_settle_each, waiting))
        if forgets:
            commit = Commit(seq=next(self._seqs), run=self._run, forgets=tuple(forgets))
            self._ask(commit, partial(_settle_each, forgets))

    def _ask(self, commit: Commit, answered: Callable[[Recorded], None]) -> None:
        self._waiting[commit.seq] = answered
        self._channel.send(commit)


def _settle(future: asyncio.Future[Recorded], frame: Recorded) -> None:
    if not future.done():
        future.set_result(frame)


def _settle_each(waiting: Mapping[str, asyncio.Future[None]], frame: Recorded) -> None:
    for delivery, future in waiting.items():
        error = frame.error or frame.errors.get(delivery, "")
        if future.done():
            continue
        if frame.lost:
            future.set_exception(LeadershipLost(error))
        elif error:
            future.set_exception(Conflict(error, code=FOREIGN))
        else:
            future.set_result(None)


def as_text(value: Any) -> Any:
    """Give what can be sent: a name at a partner may be no text."""
    return work.as_text(value) if isinstance(value, str) else value


class OutboundWorker:
    """One process's runs. They share the open remotes, so a partner sees one connection, not one for each transfer."""

    def __init__(self, channel: Channel[Order]) -> None:
        self._channel = channel
        self._node, self._version = "", 0
        self._config: Latest[Config] = Latest(Config())
        self._pool = RemotePool(partial(self._emit_of, {}))
        self._limits = Limits()
        self._threads = Visits(len(os.sched_getaffinity(0)), "hashing")
        self._runs: dict[int, tuple[asyncio.Task[None], FrameJournal, Run, Permit]] = {}
        self._stability: dict[str, Stability] = {}
        self._memories: dict[str, Memory] = {}
        self._probes: set[asyncio.Task[None]] = set()
        self._seqs = itertools.count()

    async def serve(self) -> None:
        """Follow the agent's orders until it drains this worker or is gone."""
        self._channel.send(Ready())
        try:
            async with asyncio.TaskGroup() as tasks:
                watchdog = tasks.create_task(self._watch_deadlines(), name="deadlines")
                await self._follow_orders(tasks)
                await cancel_and_wait(watchdog, *self._probes, *(run[0] for run in self._runs.values()))
        finally:
            self._threads.close()
            await self._pool.close()

    async def _follow_orders(self, tasks: asyncio.TaskGroup) -> None:
        while (order := await self._channel.receive()) is not None:
            match order:
                case Configure(node=node, version=version, config=config):
                    self._node, self._version = node, version
                    self._config.set(msgspec.msgpack.decode(config, type=Config))
                    self._channel.send(Configured(version=version))
                case Run():
                    self._begin(order, tasks)
                case PermitFrame(group=group, deadline=deadline):
                    self._extend(group, deadline)
                case Finish(run=run) if run in self._runs:
                    self._runs[run][3].takes_new = False
                case Cancel(run=run) if run in self._runs:
                    self._runs[run][0].cancel()
                case Probe(probe=number):
                    probe = tasks.create_task(self._probe(order, tasks), name=f"probe:{number}")
                    self._probes.add(probe)
                    probe.add_done_callback(self._probes.discard)
                case Recorded():
                    for _, journal, _, _ in self._runs.values():
                        journal.answer(order)
                case Ping():
                    self._channel.send(Pong())
                case Drain():
                    return
                case _:
                    pass  # Of a run that is over, or for the other kind of worker.

    async def _probe(self, order: Probe, tasks: asyncio.TaskGroup) -> None:
        found = await reachable(self._config.value, order.locations, order.limit_s, tasks)
        self._send(Probed(probe=order.probe, reachable=found))

    def _begin(self, order: Run, tasks: asyncio.TaskGroup) -> None:
        journal = FrameJournal(self._channel, order.run, self._seqs)
        permit = Permit(order.deadline)
        permit.takes_new = not order.finish
        task = tasks.create_task(self._run(order, journal, permit), name=f"run:{order.transfer}:{order.run}")
        self._runs[order.run] = (task, journal, order, permit)

    def _extend(self, group: str, deadline: float) -> None:
        for _, _, order, permit in self._runs.values():
            if order.group == group:
                permit.deadline = max(permit.deadline, deadline)

    async def _watch_deadlines(self) -> None:
        """End this process when a term it works for is over and the agent says nothing: a border, not a courtesy.

        Ending the process closes its connections, so nothing that was sent but not yet written can follow.
        """
        while True:
            deadlines = [permit.deadline for _, _, _, permit in self._runs.values()]
            now = boottime()
            if any(deadline <= now for deadline in deadlines):
                os._exit(EXIT_DEADLINE)
            await asyncio.sleep(min(0.25, *(deadline - now for deadline in deadlines)) if deadlines else 0.25)

    async def _run(self, order: Run, journal: FrameJournal, permit: Permit) -> None:
        """Make one pass and say how it ended. The border where a run's failure ends: the worker lives on."""
        tally = Tally()
        error, cancelled = "", False
        try:
            await self._pass(order, journal, permit, tally)
        except asyncio.CancelledError:
            cancelled = True
        except Exception as raised:
            failure = internal(raised)
            error = str(failure)
            tally.failure = tally.failure or classify(failure, "open", self._config.value.locations)
        finally:
            del self._runs[order.run]
        self._send(
            Ran(
                run=order.run,
                delivered=tally.delivered,
                failed=tally.failed,
                gone=tally.gone,
                error=error,
                error_class=tally.failure.kind if tally.failure and error else "",
                location=tally.failure.location if tally.failure and error else "",
                wait_s=tally.wait_s,
                awaits=tally.awaits,
                cancelled=cancelled,
            )
        )

    async def _pass(self, order: Run, journal: FrameJournal, permit: Permit, tally: Tally) -> None:
        config, version = self._config.value, self._version
        spec = config.transfers.get(order.transfer)
        if spec is None:
            raise NotFound(f"transfer {order.transfer} is not in the config of this instance any more")
        source = await self._remote(config, spec.source_location, "source")
        destination = await self._remote(config, spec.destination_location, "destination")
        archive_location = archive_location_of(spec)
        archive = await self._remote(config, archive_location, "archive") if archive_location else None
        places = {id: config.locations[id] for id in locations_of(spec)}
        throttles = self._limits.throttles(order.transfer, spec, places)
        context = RunContext(
            transfer=order.transfer,
            spec=spec,
            source=source,
            source_spec=config.locations[spec.source_location],
            destination=destination,
            destination_spec=config.locations[spec.destination_location],
            term=Term(order.incarnation, order.create_revision),
            run=order.run,
            node=self._node,
            version=version,
            permit=permit,
            journal=journal,
            emit=partial(self._emit_of, {"version": version, "attempt": f"{order.create_revision}.{order.run}"}),
            ledger=order.ledger,
            archive=archive,
            archive_spec=config.locations.get(archive_location),
            memory=self._memories.setdefault(order.transfer, Memory()),
            transfers=frozenset(config.transfers),
            throttle=throttles.send,
            throttle_read_back=throttles.read_back,
            throttle_archive=throttles.archive,
            threads=self._threads,
            turn=partial(self._limits.turn, spec.priority, places),
            progress=RunProgress(order.run, self._send, lambda: (tally.delivered, tally.failed)),
        )
        try:
            await run_pass(context, order.records, self._stable(order.transfer), tally, sweep=order.sweep)
        except LeadershipLost:
            raise
        except Unavailable as error:
            for remote in (source, destination, archive):
                # What is known to have failed elsewhere, or at none of them, broke no connection here.
                if remote is not None and error.location in ("", remote.location):
                    await self._pool.discard(remote.location, remote.remote)
            raise

    async def _remote(self, config: Config, location: str, role: Role) -> LocatedRemote:
        try:
            return LocatedRemote(await self._pool.get(location, config.locations[location]), location, role)
        except MftError as error:
            error.location, error.role = location, role
            raise

    def _stable(self, transfer: str) -> Stability:
        return self._stability.setdefault(transfer, Stability())

    def _emit(self, event: int, fields: dict[str, Any]) -> None:
        self._send(Emit(event=event, fields=fields, at=time.time()))

    def _emit_of(self, run: dict[str, Any], event: int, fields: dict[str, Any]) -> None:
        """Tell of an event in a run: also of which config and attempt it is, for whoever asks what became of a file."""
        self._emit(event, {**{name: as_text(value) for name, value in fields.items()}, **run})

    def _send(self, frame: Frame) -> None:
        self._channel.send(frame)
