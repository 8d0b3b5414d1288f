"""The outbound workers as one: who makes which run, and how all of them are stopped before a term can end."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from mft.agent.supervisor import Worker
from mft.aio import Latest
from mft.errors import LeadershipLost, MftError, Unavailable
from mft.transfers.journal import Refused
from mft.transfers.steering import Ending
from mft.worker.frames import (
    Cancel,
    Commit,
    Configure,
    Configured,
    Emit,
    Finish,
    Permit,
    Probe,
    Probed,
    Progress,
    Ran,
    Recorded,
    Report,
    Run,
)

_HOMES_MAX = 100_000
"""Affinities that are remembered; the names of transfers that are long gone are among them."""
_CANCEL_S_MAX = 0.2
"""How long a worker may take to acknowledge that a run is cancelled, before it is killed."""

Committer = Callable[[Commit], Awaitable[None]]
"""Writes what a worker asks for to the journal, fenced; raises as `mft.transfers.journal.Journal.commit` does."""


_PROBE_LATE_S = 2.0
"""How much longer than a probe's own limit its answer may take: a worker's loop is busy at times."""


class _Running:
    """One run that a worker is making."""

    def __init__(self, order: Run, worker: Worker, commit: Committer) -> None:
        self.order = order
        self.worker = worker
        self.commit = commit
        self.result: asyncio.Future[Ran] = asyncio.get_running_loop().create_future()
        self.is_over = False
        """Whether nothing more is written for it: the next run may have begun from what the journal said until then."""
        self.began = time.time()
        self.progress: Progress | None = None
        """How far it is; None until the worker has told."""


class UnderWay(NamedTuple):
    """One run under way."""

    order: Run
    began: float
    """Seconds since 1970."""
    progress: Progress | None
    """The newest that its worker told; None: nothing yet."""


async def _at_once() -> None:
    """Wait for nothing."""


class OutboundPool:
    """Owner of the outbound workers. `before_forget` is awaited before a record is removed from the journal."""

    def __init__(self, emit: Callable[[Emit], None], before_forget: Callable[[], Awaitable[None]] = _at_once) -> None:
        self._emit = emit
        self._before_forget = before_forget
        self._workers: dict[int, Worker] = {}
        self._running: dict[int, _Running] = {}
        self._homes: dict[str, int] = {}
        """Affinity → number of the worker that makes its runs."""
        self._homes_at: Counter[int] = Counter()
        """Number of a worker → how many affinities it was given."""
        self._configure: Configure | None = None
        self._commits: asyncio.Queue[tuple[_Running, Commit]] = asyncio.Queue()
        self._probes: dict[int, tuple[Worker, asyncio.Future[tuple[str, ...]]]] = {}
        self._probe_numbers = itertools.count(1)
        self._present = Latest(0)
        self._renewed = 0.0

    @property
    def runs(self) -> int:
        """Runs under way."""
        return len(self._running)

    def progress(self) -> tuple[UnderWay, ...]:
        """Say of each run under way how far it is."""
        return tuple(UnderWay(one.order, one.began, one.progress) for one in self._running.values())

    def configure(self, frame: Configure) -> None:
        """Use this config from the next run on."""
        self._configure = frame
        for worker in self._workers.values():
            worker.send(frame)

    async def run(self, order: Run, commit: Committer, affinity: str, ending: Ending) -> Ran:
        """Have a worker make this run and return how it ended. Cancelling this cancels the run and waits for its end.

        Runs of one `affinity` are made by one worker, for as long as that lives: it keeps their limits, and remembers
        their files. `ending` may ask the run to take nothing new.

        Raises:
            Unavailable: the worker died; what was open is in the journal.
        """
        worker = await self._home_of(affinity)
        # The lease may have been renewed while no worker was there; one with the old deadline would end at once.
        order = replace(order, deadline=max(order.deadline, self._renewed), finish=ending.asked)
        running = self._running[order.run] = _Running(order, worker, commit)
        worker.send(order)
        ending.on_ask(lambda: worker.send(Finish(run=order.run)))
        try:
            return await asyncio.shield(running.result)
        except asyncio.CancelledError:
            await self._end(running)
            raise
        finally:
            running.is_over = True
            self._running.pop(order.run, None)

    async def probe(self, locations: Sequence[str], limit_s: float) -> frozenset[str]:
        """Have a worker try which of the locations can be reached from here. None, where it gives no answer in time."""
        number, answer = next(self._probe_numbers), asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limit_s + _PROBE_LATE_S):
                worker = await self._least_busy()
                self._probes[number] = (worker, answer)
                worker.send(Probe(probe=number, locations=tuple(locations), limit_s=limit_s))
                return frozenset(await answer)
        except TimeoutError:
            return frozenset()
        finally:
            self._probes.pop(number, None)

    def permit(self, deadline: float) -> None:
        """Tell the workers of a renewed lease: their terms now last until `deadline`."""
        self._renewed = deadline
        for running in self._running.values():
            running.worker.send(Permit(group=running.order.group, deadline=deadline))

    async def serve_commits(self) -> None:
        """Write what workers ask for, until cancelled. Each commit is a task, so that the journal can group them."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                running, commit = await self._commits.get()
                tasks.create_task(self._commit(running, commit), name=f"commit:{commit.run}:{commit.seq}")

    def began(self, worker: Worker) -> None:
        """Give a new worker the config; it is then ready for runs."""
        self._workers[worker.number] = worker
        if self._configure is not None:
            worker.send(self._configure)
        self._present.set(len(self._workers))

    def reported(self, worker: Worker, report: Report) -> None:
        """Take note of what a worker says."""
        match report:
            case Emit():
                self._emit(report)
            case Commit(run=run):
                if running := self._running.get(run):
                    self._commits.put_nowait((running, report))
                else:
                    worker.send(Recorded(seq=report.seq, error="the run is over", lost=True))
            case Progress(run=run):
                if running := self._running.get(run):
                    running.progress = report
            case Ran(run=run):
                if (running := self._running.get(run)) and not running.result.done():
                    running.result.set_result(report)
            case Probed(probe=number, reachable=reachable):
                if (probe := self._probes.get(number)) and not probe[1].done():
                    probe[1].set_result(reachable)
            case Configured():
                pass
            case _:
                raise AssertionError(f"an outbound worker says {report}")

    def ended(self, worker: Worker) -> None:
        """Forget a worker; its runs fail and are made again by the journal."""
        self._workers.pop(worker.number, None)
        self._present.set(len(self._workers))
        for prober, answer in self._probes.values():
            if prober is worker and not answer.done():
                answer.set_result(())
        for running in self._running.values():
            if running.worker is worker and not running.result.done():
                running.result.set_exception(Unavailable("the worker that made this run died"))

    async def _home_of(self, affinity: str) -> Worker:
        """Give the worker that makes the runs of this affinity; a new one where it has none, or that one has died."""
        home = self._workers.get(self._homes.get(affinity, -1))
        if home is None:
            home = await self._least_busy()
            if len(self._homes) >= _HOMES_MAX:
                self._homes.clear()
                self._homes_at.clear()
            self._homes[affinity] = home.number
            self._homes_at[home.number] += 1
        return home

    async def _least_busy(self) -> Worker:
        async for present in self._present.follow():
            if present:
                break
        busy = Counter(running.worker.number for running in self._running.values())
        return min(self._workers.values(), key=lambda worker: (busy[worker.number], self._homes_at[worker.number]))

    async def _end(self, running: _Running) -> None:
        """Cancel a run and wait for the acknowledgement; a worker that gives none in time is killed."""
        running.worker.send(Cancel(run=running.order.run))
        try:
            async with asyncio.timeout(_CANCEL_S_MAX):
                await asyncio.wait([running.result])
        except TimeoutError:
            running.worker.kill()
            await running.worker.ended.wait()
        if running.result.done():
            running.result.exception()  # Looked at, so that nobody warns that it was not.

    async def _commit(self, running: _Running, commit: Commit) -> None:
        try:
            if commit.forgets:
                # Its event was told before. Without the record nobody would tell of the delivery again.
                await self._before_forget()
            if running.is_over:
                raise LeadershipLost("the run is over")
            await running.commit(commit)
            answer = Recorded(seq=commit.seq)
        except LeadershipLost as error:
            answer = Recorded(seq=commit.seq, error=str(error), lost=True)
        except MftError as error:
            errors = {id: str(refused) for id, refused in error.refused.items()} if isinstance(error, Refused) else {}
            answer = Recorded(seq=commit.seq, error="" if errors else str(error), errors=errors)
        running.worker.send(answer)
