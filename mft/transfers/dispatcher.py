"""One leader group: campaign, and while the term lasts have the passes of the group's transfers made."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from typing import Any

import structlog

from mft.aio import Latest, backoff, boottime, cancel_and_wait, cancellations, first_error, give_way, is_only
from mft.cluster.keys import Keys
from mft.cluster.steering import Steer, decode_steers
from mft.errors import Conflict, MftError, NotFound, Unavailable
from mft.etcd.client import EtcdClient
from mft.etcd.election import Election, Leadership
from mft.etcd.watch import View, Watch
from mft.events import catalogue
from mft.model.config import Config
from mft.model.delivery import Record, Term
from mft.model.locations import LocalLocationSpec
from mft.model.transfers import TransferSpec, leader_group_of, locations_of
from mft.transfers.journal import Journal
from mft.transfers.lead import Commit, Lead, MakePass, Outcome, PassResult, Permission
from mft.transfers.notify import Folder, Folders, Notifier, folder_path
from mft.transfers.partners import Partners
from mft.transfers.passes import Passes
from mft.transfers.record_file import Note
from mft.transfers.slots import SlotStore
from mft.transfers.starting import Clock
from mft.transfers.steering import TransferStatus

__all__ = ["Commit", "Dispatcher", "MakePass", "PassResult", "groups_of"]

PASSES_MAX = 256
"""Passes of one leader group at one time. More would only wait for each other in the workers: each has its listing, its
files on their way and its connections in memory."""
_BEGUN_AT_ONCE = 16
_REMIND_EVERY_S = 60.0


class Dispatcher:
    """Runs the transfers of one leader group whenever this instance leads it."""

    def __init__(
        self,
        *,
        group: str,
        election: Election,
        etcd: EtcdClient,
        keys: Keys,
        config: Latest[Config],
        make_pass: MakePass,
        emit: Callable[[int, dict[str, Any]], None],
        permission: Permission,
        note: Note | None = None,
    ) -> None:
        """`note` is told of each write to the journal that etcd has agreed to."""
        self._note = note
        self._group = group
        self._election = election
        self._etcd = etcd
        self._keys = keys
        self._config = config
        self._make_pass = make_pass
        self._emit = emit
        self._permission = permission
        self.leads: Latest[Term | None] = Latest(None)
        self._lead_now: Lead | None = None
        self._passes: dict[str, Passes] = {}
        """Transfer → its passes; only while this instance leads."""
        self._folders: Latest[Folders] = Latest({})
        """Those from which a notification is wanted."""
        self._after: Mapping[str, Sequence[str]] = {}
        """Transfer → those that come after it."""
        self._log = structlog.get_logger().bind(leader_group=group)

    # ---- steering

    async def run_now(self, transfer: str, reason: str = "") -> None:
        """Have a pass made at once, also where windows are closed or a partner is broken; return once that is noted.

        Raises:
            NotFound: the group has no such transfer.
            Conflict: this instance does not lead the group, or the transfer is paused.
            LeadershipLost: it does not lead any more.
        """
        await self._of(transfer).ask(reason)

    def cancel(self, transfer: str, by: str = "") -> None:
        """End the pass under way; what it had begun is finished by the next one.

        Raises:
            NotFound: the group has no such transfer.
            Conflict: this instance does not lead the group, or no pass is under way.
        """
        self._of(transfer).cancel(by)

    async def resend(self, transfer: str, delivery: str, by: str = "") -> None:
        """Have a delivery that is uncertain or in quarantine sent again, by the next pass.

        Raises:
            NotFound: there is no such transfer or delivery.
            Conflict: this instance does not lead the group, or the delivery is in no such state.
            Unavailable: etcd cannot be reached.
        """
        await self._of(transfer).resend(delivery, by)

    def status(self) -> Mapping[str, TransferStatus]:
        """Say of each transfer of the group how it is; nothing, while this instance does not lead."""
        now = Clock.now()
        return {id: passes.status(now) for id, passes in self._passes.items()}

    def records(self, transfer: str) -> Mapping[str, Record]:
        """Give delivery → record of what is under way or held; nothing, while this instance does not lead."""
        return self._lead_now.journal.open_records(transfer) if self._lead_now is not None else {}

    def _of(self, transfer: str) -> Passes:
        if self._lead_now is None:
            raise Conflict(f"this instance does not lead group {self._group} now: ask again")
        passes = self._passes.get(transfer)
        if passes is None:
            raise NotFound(f"leader group {self._group} has no transfer {transfer}")
        return passes

    # ---- leading

    async def run(self) -> None:
        """Dispatch this group's transfers whenever this instance leads; until cancelled, and then resign."""
        waits = backoff(0.2, 5.0)
        while True:
            await self._permitted()
            try:
                async with self._election.campaign() as leadership:
                    waits = backoff(0.2, 5.0)
                    await self._lead(leadership)
            except MftError as error:
                self._log.warning("leading failed, campaigning again", reason=str(error))
            await asyncio.sleep(next(waits))

    async def _permitted(self) -> None:
        async for reason in self._permission.withheld.follow():
            if not reason:
                return

    async def _end_when_withheld(self, leadership: Leadership) -> None:
        async for reason in self._permission.withheld.follow():
            if reason:
                leadership.end(reason)

    async def _lead(self, leadership: Leadership) -> None:
        """Work for as long as the term lasts. Leaving this, for whatever reason, resigns."""
        # After winning: who wins in an etcd that was restored a moment ago must see it.
        term = Term(await self._permission.confirm(), leadership.create_revision)
        journal = Journal(self._etcd.kv, self._keys, term, leadership.key, self._note)
        slots = SlotStore(self._etcd.kv, self._keys, term, leadership.key)
        self._log.info("this instance leads", term=term.create_revision)
        self._emit(catalogue.LEADER_GAINED, {"leader_group": self._group, "term": term.create_revision})
        self.leads.set(term)
        since = cancellations()
        try:
            async with asyncio.TaskGroup() as tasks:
                writes = tasks.create_task(journal.run(), name=f"journal:{self._group}")
                work = self._dispatch(leadership, term, journal, slots)
                passes = tasks.create_task(work, name=f"passes:{self._group}")
                withheld = tasks.create_task(self._end_when_withheld(leadership), name=f"withheld:{self._group}")
                await leadership.lost.wait()
                await cancel_and_wait(withheld)
                # Before the lease ends: the next leader may already be reading the journal.
                await cancel_and_wait(passes)
                await cancel_and_wait(writes)
        except BaseExceptionGroup as group:
            give_way(since)
            if not is_only(group, MftError):
                raise
            raise first_error(group) from group
        finally:
            self.leads.set(None)
            self._log.info("this instance leads no more", term=term.create_revision)
            self._emit(catalogue.LEADER_LOST, {"leader_group": self._group, "term": term.create_revision})

    async def _dispatch(self, leadership: Leadership, term: Term, journal: Journal, slots: SlotStore) -> None:
        """Read what the leaders before have left, then keep the passes of every transfer going."""
        await self._load(journal, slots)
        async with self._etcd.watch(self._keys.steers) as watch, asyncio.TaskGroup() as tasks:
            # Listed after the leader's key was made: a pause that was asked for before this term holds from its begin.
            await watch.listed()

            def spawn(work: Coroutine[Any, Any, Outcome], *, name: str) -> asyncio.Task[Outcome]:
                return tasks.create_task(work, name=name)

            lead = Lead(
                group=self._group,
                leadership=leadership,
                term=term,
                journal=journal,
                slots=slots,
                partners=Partners(self._emit, self._free),
                gate=asyncio.Semaphore(PASSES_MAX),
                config=self._config,
                make_pass=self._make_pass,
                emit=self._emit,
                rng=random.Random(),
                delivered=self._delivered,
                spawn=spawn,
            )
            self._lead_now = lead
            try:
                tasks.create_task(self._follow_pauses(watch), name=f"pauses:{self._group}")
                tasks.create_task(self._remind(lead), name=f"remind:{self._group}")
                tasks.create_task(
                    Notifier(self._folders, self._came, self._not_notified).run(), name=f"notify:{self._group}"
                )
                await self._follow_config(lead, watch, tasks)
            finally:
                self._lead_now = None
                self._passes = {}

    async def _follow_config(self, lead: Lead, watch: Watch, tasks: asyncio.TaskGroup) -> None:
        """Keep one task for each transfer of the group, as the config says now."""
        running: dict[str, asyncio.Task[None]] = {}
        before = Config()
        async for config in self._config.follow():
            wanted = {id for id, spec in config.transfers.items() if leader_group_of(id, spec) == self._group}
            for id in [id for id, task in running.items() if id not in wanted or task.done()]:
                # One that ended by itself saw its transfer leave the config, which has come back since.
                await cancel_and_wait(running.pop(id))
                del self._passes[id]
                self._emit(catalogue.TRANSFER_ENDED, {"transfer": id})
            lead.partners.forget(id for id, spec in before.locations.items() if config.locations.get(id) != spec)
            for id in sorted(wanted & running.keys()):
                if _is_changed(id, before, config):
                    self._passes[id].change()
            new = wanted - running.keys()
            if new and before.transfers:
                # They may have been another group's until now: what is known of them is old.
                await self._load(lead.journal, lead.slots, new)
                for id in sorted(new):
                    self._emit(catalogue.TRANSFER_BEGUN, {"transfer": id})
            await self._begin(sorted(new), lead, watch, tasks, running)
            before = config
            self._folders.set(_folders_of(config, wanted))
            self._after = _followers_of(config)

    async def _begin(
        self,
        new: Sequence[str],
        lead: Lead,
        watch: Watch,
        tasks: asyncio.TaskGroup,
        running: dict[str, asyncio.Task[None]],
    ) -> None:
        """Begin the passes of these transfers, some at a time: ten thousand at once would hold up the lease."""
        for some in (new[at : at + _BEGUN_AT_ONCE] for at in range(0, len(new), _BEGUN_AT_ONCE)):
            # As they are at this moment: later ones are told to those that have begun.
            steers = self._steers(watch.view) if watch.view is not None else {}
            for id in some:
                passes = self._passes[id] = Passes(id, lead, steers.get(id))
                running[id] = tasks.create_task(passes.run(), name=f"transfer:{id}")
            await asyncio.sleep(0)

    async def _follow_pauses(self, watch: Watch) -> None:
        async for view in watch.follow():
            steers = self._steers(view)
            for id, passes in self._passes.items():
                passes.steer(steers.get(id))

    def _steers(self, view: View) -> Mapping[str, Steer]:
        return decode_steers(self._keys, {key: kv.value for key, kv in view.items.items()})

    async def _remind(self, lead: Lead) -> None:
        while True:
            await asyncio.sleep(_REMIND_EVERY_S)
            lead.partners.remind(boottime())

    def _came(self, transfer: str) -> None:
        """Have a transfer look: a file has come into its folder."""
        if transfer in self._passes:
            self._passes[transfer].look()

    def _not_notified(self, transfer: str, path: str, reason: str) -> None:
        self._emit(catalogue.SOURCE_NOT_NOTIFIED, {"transfer": transfer, "path": path, "reason": reason})

    def _delivered(self, transfer: str) -> None:
        """Have the transfers that come after this one look."""
        for id in self._after.get(transfer, ()):
            if id in self._passes:
                self._passes[id].look()

    def _free(self, location: str) -> None:
        """Have the transfers of a location that works again go on."""
        for id, spec in self._config.value.transfers.items():
            if location in locations_of(spec) and id in self._passes:
                self._passes[id].free()

    async def _load(self, journal: Journal, slots: SlotStore, transfers: Set[str] | None = None) -> None:
        for wait_s in backoff(0.1, 2.0):
            try:
                await journal.load_all(transfers)
                await slots.load(transfers)
                return
            except Unavailable as error:
                self._log.warning("the journal cannot be read", reason=str(error))
            await asyncio.sleep(wait_s)


def groups_of(transfers: Mapping[str, TransferSpec]) -> frozenset[str]:
    """Name the leader groups of these transfers."""
    return frozenset(leader_group_of(id, spec) for id, spec in transfers.items())


def _folders_of(config: Config, transfers: Set[str]) -> Folders:
    """Say which folders are to be watched for these transfers."""
    folders = {}
    for id in transfers:
        spec = config.transfers[id]
        location = config.locations.get(spec.source_location)
        if spec.start.notify and isinstance(location, LocalLocationSpec):
            folders[id] = Folder(folder_path(location.root, spec.source_path), spec.recursive)
    return folders


def _followers_of(config: Config) -> Mapping[str, Sequence[str]]:
    """Give transfer → those that come after it."""
    found: dict[str, list[str]] = {}
    for id, spec in config.transfers.items():
        for name in spec.start.after:
            found.setdefault(name, []).append(id)
    return found


def _is_changed(id: str, before: Config, now: Config) -> bool:
    """Say whether anything that matters to a transfer is another than before."""
    old, new = before.transfers.get(id), now.transfers[id]
    if old != new:
        return True
    calendars = (*new.start.calendars, *(new.expect.calendars if new.expect is not None else ()))
    return any(before.locations.get(name) != now.locations.get(name) for name in locations_of(new)) or any(
        before.calendars.get(name) != now.calendars.get(name) for name in calendars
    )
