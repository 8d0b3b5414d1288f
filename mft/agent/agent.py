"""The composition root of an instance: what an agent consists of, and in which order it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Mapping
from importlib.metadata import version as program_version
from pathlib import Path
from typing import Any

import structlog

from mft.agent.etcd_room import EtcdRoom
from mft.agent.follower import Follower
from mft.agent.health import Health
from mft.agent.inbound_pool import InboundPool
from mft.agent.leading import Leading
from mft.agent.link import Link, Self
from mft.agent.link_requests import LinkRequests, told
from mft.agent.metrics import Metrics, State
from mft.agent.metrics_page import Moment
from mft.agent.options import AgentOptions
from mft.agent.outbound_pool import OutboundPool
from mft.agent.presence import Presence
from mft.agent.probes import Probes
from mft.agent.reconciler import Reconciler
from mft.agent.restoring import Restoring
from mft.agent.supervisor import Supervisor
from mft.agent.yielding import Yielding
from mft.aio import Latest, backoff, boottime, cancel_and_wait
from mft.cluster import life, trust_file
from mft.cluster.joining_etcd import join
from mft.cluster.keys import Keys
from mft.cluster.membership import Alive, Candidate, encode
from mft.cluster.store_disk import DiskStore
from mft.cluster.store_etcd import EtcdStore
from mft.cluster.trust_file import Pinned
from mft.errors import MftError
from mft.etcd.client import EtcdClient
from mft.etcd.election import Election
from mft.etcd.keeper import LeaseKeeper
from mft.events import catalogue
from mft.events.bus import Bus
from mft.events.event import Event
from mft.events.spool import Spool
from mft.model.config import Config
from mft.model.services import ServiceSpec
from mft.transfers.dispatcher import Dispatcher
from mft.transfers.record_file import RecordFile
from mft.worker import frames

_RETIRE_S = 5.0
"""How often inbound workers that no service needs any more are looked at."""


class Agent:
    """One instance: it follows the config, serves, and stands for election. Everything is wired here."""

    def __init__(self, options: AgentOptions, lease_pipe: socket.socket) -> None:
        self._options = options
        self._lease_pipe = lease_pipe
        self._boot = secrets.token_hex(8)
        self._began = time.time()
        self._program = program_version("mft-cluster")
        self._keys = Keys(options.cluster)
        self._etcd = EtcdClient(options.etcd.endpoints, tls=options.etcd.tls())
        self._keeper = LeaseKeeper(self._etcd.leases, options.lease_ttl_s)
        self._spool = Spool(Path(options.data) / "events")
        self._metrics = Metrics()
        self._bus = Bus(instance=options.name, tap=self._tap)
        self._records = RecordFile(Path(options.data) / "records", self._tell_records)
        self._inbound_wanted = Latest(0)
        self._outbound_wanted = Latest(0)
        self._services: Latest[Mapping[str, ServiceSpec]] = Latest({})
        self._worker_problems: Latest[Mapping[str, str]] = Latest({})
        self._inbound = InboundPool(self._pass_on, self._worker_problems.set)
        self._outbound = OutboundPool(self._pass_on, self._spool.written)
        self._reconciler = Reconciler(self._services, self._inbound, self._bus.emit)
        self._config: Latest[Config] = Latest(Config())
        self._follower: Follower | None = None
        self._probes = Probes(
            name=options.name,
            etcd=self._etcd,
            keys=self._keys,
            keeper=self._keeper,
            config=self._config,
            attempt=self._outbound.probe,
        )
        self._yielding = Yielding(
            name=options.name,
            etcd=self._etcd,
            keys=self._keys,
            config=self._config,
            probes=self._probes,
            emit=self._bus.emit,
        )
        data = Path(options.data)
        self._restoring = Restoring(
            name=options.name,
            etcd=self._etcd,
            keys=self._keys,
            life=life.Life(self._etcd.kv, self._keys, self._keys.mark("node", options.name), data / life.FILE),
            records=self._records,
            emit=self._bus.emit,
        )
        self._leading = Leading(
            self._config,
            self._outbound,
            self._outbound_wanted,
            options.outbound_workers,
            self._dispatcher,
            passed=self._yielding.passed,
        )
        self._etcd_room = EtcdRoom(self._etcd, self._config, self._speaks, self._bus.emit)
        self._link = Link(
            Self(options.name, options.role, self._boot, self._program, Path(options.data)),
            self._etcd,
            self._keys,
            self._spool,
            requests=LinkRequests(self._leading.leaders, self._leading.leader_of),
            progress=lambda: told(self._outbound.progress()),
        )
        self._log = structlog.get_logger()

    async def run(self, terminated: asyncio.Event) -> None:
        """Run until `terminated` is set, then drain: resign, finish, revoke the lease, end.

        Raises:
            Invalid: an option cannot be used; starting again would not help.
        """
        self._bus.emit(catalogue.INSTANCE_STARTED, {"role": self._options.role, "program": self._program})
        await self._spool.open()
        async with self._etcd, asyncio.TaskGroup() as tasks:
            spool = tasks.create_task(self._spool.run(self._tell_lost), name="event-spool")
            bus = tasks.create_task(self._bus.run(), name="bus")
            records = tasks.create_task(self._records.run(), name="records")
            inbound = tasks.create_task(self._supervise_inbound(), name="inbound-workers")
            outbound = tasks.create_task(self._supervise_outbound(), name="outbound-workers")
            lease = tasks.create_task(self._hold_lease(), name="lease")
            work = tasks.create_task(self._work(), name="work")
            ended = tasks.create_task(terminated.wait(), name="terminated")
            await ended
            self._log.info("stopping")
            await cancel_and_wait(work)
            await cancel_and_wait(records)
            await self._finish_sessions()
            await cancel_and_wait(inbound, outbound)
            await self._give_lease_back(lease)
            self._bus.emit(catalogue.INSTANCE_STOPPED, {})
            await self._bus.flush(limit_s=2.0)
            await self._spool.written()
            await cancel_and_wait(bus, spool)
        self._spool.close()

    async def _work(self) -> None:
        """Everything that stops first: following, listening, leading."""
        async with asyncio.TaskGroup() as tasks:
            if self._options.health_address:
                health = Health(self._options.health_address, self._status, self._metrics_page)
                tasks.create_task(health.run(), name="health")
                tasks.create_task(self._metrics.run(), name="metrics")
            tasks.create_task(self._etcd.servers.check_version(), name="etcd-version")
            pinned = await self._join()
            follower = self._follower = self._make_follower(pinned)
            await follower.load_snapshot()
            presence = Presence(self._etcd.kv, self._keys, self._keeper, self._alive, follower.ack)
            store = EtcdStore(self._etcd.kv, self._keys, pinned.trust())
            for name, work in {
                "configure": self._configure(follower),
                "reconciler": self._reconciler.run(),
                "presence": presence.run(),
                "problems": self._follow_problems(presence),
                "follower": follower.run(self._etcd, self._keys.current, store),
                "commits": self._outbound.serve_commits(),
                "retire": self._retire_inbound(),
                "restoring": self._restoring.run(),
                "leading": self._leading.run(),
                "probes": self._probes.run(),
                "etcd-room": self._etcd_room.run(),
                "yielding": self._yielding.run(),
                "link": self._link.run(pinned.trust()),
            }.items():
                tasks.create_task(work, name=name)

    async def _join(self) -> Pinned:
        """Give the cluster's keys: from this instance's folder, else from the controller, however long that takes."""
        trust = None
        if self._options.trust:
            trust = await asyncio.to_thread(trust_file.load_trust, Path(self._options.trust), self._options.cluster)
        return await join(self._etcd, self._keys, self._options.name, Path(self._options.data), trust)

    def _make_follower(self, pinned: Pinned) -> Follower:
        return Follower(
            name=self._options.name,
            role=self._options.role,
            program=self._program,
            disk=DiskStore(Path(self._options.data) / "config", self._options.cluster, pinned.trust()),
            sealer=pinned.sealer(),
            emit=self._bus.emit,
        )

    async def _configure(self, follower: Follower) -> None:
        """Hand each new view to all that live by it."""
        async for config in follower.config.follow():
            number = follower.ack.value.applied
            if not number:
                continue  # No version yet; the events of the start wait for who wants them.
            frame = frames.Configure(node=self._options.name, version=number, config=frames.encode_config(config))
            self._inbound.configure(frame)
            self._outbound.configure(frame)
            self._metrics.configure(config)
            self._bus.configure(config.event_handlers)
            if config.services:
                self._inbound_wanted.set(self._options.inbound_workers)
            self._services.set(config.services)
            self._config.set(config)

    async def _retire_inbound(self) -> None:
        """End the inbound workers once the config wants no service here and the last session is over."""
        async for config in self._config.follow(every_s=_RETIRE_S):
            if not config.services and not self._inbound.sessions:
                self._inbound_wanted.set(0)

    async def _supervise_inbound(self) -> None:
        await self._supervisor("inbound", self._inbound, self._inbound_wanted).run()

    async def _supervise_outbound(self) -> None:
        await self._supervisor("outbound", self._outbound, self._outbound_wanted).run()

    def _supervisor(self, kind: Any, owner: InboundPool | OutboundPool, count: Latest[int]) -> Supervisor:
        log_options = f"{self._options.log_format}:{self._options.log_level}"
        return Supervisor(kind, self._options.name, log_options, self._metrics.counted(kind, owner), count)

    def _dispatcher(self, group: str) -> Dispatcher:
        value, prefix = encode(Candidate(name=self._options.name, boot=self._boot)), self._keys.election(group)
        election = Election(self._etcd, self._keeper, prefix=prefix, value=value, prefer=self._yielding.prefer(group))
        self._yielding.watch_over(group, election)
        return Dispatcher(
            group=group,
            election=election,
            etcd=self._etcd,
            keys=self._keys,
            config=self._config,
            make_pass=self._metrics.timed(self._leading.make_pass),
            emit=self._bus.emit,
            permission=self._restoring,
            note=self._records.note,
        )

    async def _hold_lease(self) -> None:
        """Hold the lease for as long as the agent lives; the guardian and the workers learn of each change."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell_lease(), name="lease:tell")
            for wait_s in backoff(0.5, 10.0):
                try:
                    await self._keeper.run()
                except MftError as error:
                    self._log.error("no lease can be had from etcd", reason=str(error))
                await asyncio.sleep(wait_s)

    async def _tell_lease(self) -> None:
        """Pass each change of the lease on: its id to the guardian, its deadline to the workers, its loss to people."""
        told, held = 0, None
        async for state in self._keeper.state.follow():
            if state.lease_id != told:
                # Runs under way are of a term that ends with the lease before: a new lease permits them nothing.
                told = state.lease_id
                self._lease_pipe.send(f"{told or ''}\n".encode())
            elif state.lease_id:
                self._outbound.permit(state.deadline_s)
            if held is not bool(state.lease_id) and not (held is None and self._keeper.grants == 0):
                held = bool(state.lease_id)
                self._tell_etcd(state.why)

    def _tell_etcd(self, why: str) -> None:
        if why:
            self._log.warning("etcd cannot be reached, trying again; inbound goes on, outbound pauses", reason=why)
            self._bus.emit(catalogue.ETCD_LOST, {"reason": why})
        else:
            self._log.info("etcd is reached, the lease is held")
            self._bus.emit(catalogue.ETCD_REGAINED, {})

    async def _give_lease_back(self, lease: asyncio.Task[None]) -> None:
        """Revoke the lease at a clean end, so that nobody waits for its time to live."""
        held = self._keeper.state.value.lease_id
        await cancel_and_wait(lease)
        if held:
            with contextlib.suppress(MftError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._etcd.leases.revoke(held)
        # Also where etcd did not answer: the guardian would not be answered either, and an end is to be quick.
        self._lease_pipe.send(b"\n")

    async def _finish_sessions(self) -> None:
        """Let open sessions finish, for as long as the options allow."""
        self._inbound.drain(self._options.stop_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.stop_s):
                await self._inbound.idle()

    async def _follow_problems(self, presence: Presence) -> None:
        """Have presence look again whenever something that it tells may have changed."""
        async with asyncio.TaskGroup() as tasks:
            for source in (self._config, self._reconciler.problems, self._worker_problems):
                tasks.create_task(_wake(presence, source), name="problems:wake")

    def _alive(self) -> Alive:
        ready, _ = self._status()
        return Alive(
            name=self._options.name,
            role=self._options.role,
            address=socket.gethostname(),
            boot=self._boot,
            program=self._program,
            pid=os.getpid(),
            started_at=self._began,
            ready=ready,
            problems=self._problems(),
        )

    def _speaks(self) -> bool:
        """Whether this instance tells what all see: one that leads, or a controller's, for perhaps nobody leads."""
        return self._options.role == "controller" or bool(self._leading.leaders())

    def _problems(self) -> dict[str, str]:
        services = {**self._reconciler.problems.value, **self._worker_problems.value}
        return {f"services.{id}": problem for id, problem in sorted(services.items())}

    def _status(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether this instance serves what it should, and the facts behind that."""
        ack = self._follower.ack.value if self._follower else None
        version = ack.applied if ack else 0
        problems = self._problems()
        ready = version > 0 and not problems and self._inbound.is_serving
        return ready, {
            "version": version,
            "problems": problems,
            "etcd": "connected" if self._keeper.state.value.lease_id else "degraded",
            "controllers": sorted(self._link.attached.value),
            "leading_withheld": self._restoring.withheld.value,
            "leads": sorted(group for group, leads in self._leading.groups.items() if leads),
            "sessions": self._inbound.sessions,
        }

    def _tell_lost(self, count: int) -> None:
        self._bus.emit(catalogue.EVENTS_LOST, {"component": "controllers", "count": count})

    def _tell_records(self, reason: str, lost: int) -> None:
        if reason:
            self._bus.emit(catalogue.RECORDS_NOT_KEPT, {"reason": reason})
        else:
            self._bus.emit(catalogue.RECORDS_KEPT_AGAIN, {"lost": lost})

    async def _metrics_page(self) -> tuple[str, bytes]:
        """Write what is measured, in a thread: with thousands of transfers it takes longer than a lease can wait."""
        ready, facts = self._status()
        leaders, lease = self._leading.leaders(), self._keeper.state.value
        state = State(
            version=facts["version"],
            ready=ready,
            problems=len(self._problems()),
            etcd_connected=bool(lease.lease_id),
            lease_s=max(0.0, lease.deadline_s - boottime()) if lease.lease_id else 0.0,
            etcd_share=self._etcd_room.room.share,
            is_withheld=bool(self._restoring.withheld.value),
            groups=self._leading.groups,
            sessions=self._inbound.sessions,
            runs=self._outbound.runs,
            transfers={id: status for leader in leaders for id, status in leader.status().items()},
            spool_events=self._spool.events,
        )
        moment = Moment(
            program=self._program,
            role=self._options.role,
            config=self._config.value,
            counts=self._metrics.counts,
            state=state,
            lag_s=self._metrics.lag_s,
        )
        return await asyncio.to_thread(moment.page)

    def _tap(self, event: Event) -> None:
        self._metrics.note(event)
        self._spool.put(event)

    def _pass_on(self, frame: frames.Emit) -> None:
        self._bus.emit(frame.event, frame.fields, at=frame.at)


async def _wake(presence: Presence, source: Latest[Any]) -> None:
    async for _ in source.follow():
        presence.wake()
