"""Candidacy: one dispatcher for each leader group that this instance may lead, as the config says now."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping

from mft.agent.outbound_pool import OutboundPool
from mft.aio import Latest, boottime, cancel_and_wait
from mft.errors import Conflict, NotFound
from mft.model.config import Config
from mft.model.delivery import Kept, Record, Term
from mft.model.transfers import leader_group_of
from mft.transfers.affinity import affinities
from mft.transfers.dispatcher import Commit, Dispatcher, groups_of
from mft.transfers.steering import Ending
from mft.worker import frames


class Leading:
    """The groups that this instance stands for. Their runs are numbered here, so that no two share a temp name."""

    def __init__(
        self,
        config: Latest[Config],
        pool: OutboundPool,
        workers_wanted: Latest[int],
        workers: int,
        dispatcher: Callable[[str], Dispatcher],
        *,
        passed: Callable[[str, str, float, frames.Ran], None],
    ) -> None:
        self._config = config
        self._pool = pool
        self._workers_wanted = workers_wanted
        self._workers = workers
        self._dispatcher = dispatcher
        self._passed = passed
        self._dispatchers: dict[str, Dispatcher] = {}
        self._affinities: tuple[Config, Mapping[str, str]] = (Config(), {})
        """Of which config: transfer → what its worker is chosen by."""
        self._numbers = itertools.count(1)

    @property
    def groups(self) -> Mapping[str, bool]:
        """Leader group → whether this instance leads it now."""
        return {group: dispatcher.leads.value is not None for group, dispatcher in self._dispatchers.items()}

    def leaders(self) -> tuple[Dispatcher, ...]:
        """Give the dispatchers of all groups that this instance leads now."""
        return tuple(one for one in self._dispatchers.values() if one.leads.value is not None)

    def leader_of(self, transfer: str) -> Dispatcher:
        """Give the dispatcher that runs this transfer.

        Raises:
            NotFound: the config that is in use here has no such transfer.
            Conflict: this instance does not lead its group now.
        """
        spec = self._config.value.transfers.get(transfer)
        if spec is None:
            raise NotFound(f"the config in use on the leader has no transfer {transfer}")
        dispatcher = self._dispatchers.get(leader_group_of(transfer, spec))
        if dispatcher is None or dispatcher.leads.value is None:
            raise Conflict(f"the instance that was asked does not lead transfer {transfer} any more: ask again")
        return dispatcher

    async def run(self) -> None:
        """Stand for every group of the config that this instance may lead; until cancelled, and then resign."""
        running: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            async for config in self._config.follow():
                wanted = groups_of(config.transfers)
                self._workers_wanted.set(self._workers if wanted else 0)
                for group in running.keys() - wanted:
                    await cancel_and_wait(running.pop(group))
                    del self._dispatchers[group]
                for group in sorted(wanted - running.keys()):
                    dispatcher = self._dispatchers[group] = self._dispatcher(group)
                    running[group] = tasks.create_task(dispatcher.run(), name=f"dispatcher:{group}")

    async def make_pass(
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
        ending: Ending,
    ) -> frames.Ran:
        """Have an outbound worker make one pass; see `OutboundPool.run`."""
        order = frames.Run(
            run=next(self._numbers),
            transfer=transfer,
            group=group,
            incarnation=term.incarnation,
            create_revision=term.create_revision,
            deadline=deadline,
            records=dict(records),
            ledger=dict(ledger),
            sweep=sweep,
        )

        def write(frame: frames.Commit) -> Awaitable[None]:
            return commit(frame.puts, frame.forgets)

        began = boottime()
        result = await self._pool.run(order, write, self._affinity(transfer), ending)
        self._passed(group, transfer, began, result)
        return result

    def _affinity(self, transfer: str) -> str:
        config = self._config.value
        if self._affinities[0] is not config:
            self._affinities = (config, affinities(config))
        return self._affinities[1].get(transfer, transfer)
