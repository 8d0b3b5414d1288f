"""The controller's composition root: etcd if it is embedded, management, the gRPC service, and an agent beside it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from msgspec import Struct, json

from mft.agent.guardian import EXIT_USAGE
from mft.agent.options import AgentOptions
from mft.aio import backoff, cancel_and_wait, first_error, is_only
from mft.cli.embedded_etcd import EmbeddedEtcd
from mft.cluster import files, trust_file
from mft.cluster.keys import Keys
from mft.controller import home
from mft.controller.link_server import LinkListen, LinkServer
from mft.controller.management import Management, assemble
from mft.controller.rpc import Listen, serve
from mft.errors import Invalid, MftError
from mft.etcd.client import EtcdClient
from mft.process import python_command
from mft.services.host_keys import make_host_keys

_STEADY_S = 60.0


class ControllerOptions(Struct, frozen=True, kw_only=True):
    """What a controller is started with."""

    instance: AgentOptions
    """Who it is and where etcd is; also what its agent is started with."""
    folder: Path
    with_agent: bool
    listen: tuple[str, int]
    certificate: Path | None
    key: Path | None
    insecure: bool
    link_listen: tuple[str, int]
    """Where nodes attach."""
    link_addresses: tuple[str, ...]
    """Under which names or addresses nodes reach this machine; empty: found out."""
    deliveries_days: int
    embedded_etcd: tuple[str, int] | None
    """Where an embedded etcd listens; None: there is none."""


def run(options: ControllerOptions) -> None:
    """Run the controller until SIGTERM.

    Raises:
        Invalid: it cannot start with these options.
    """
    # grpc would otherwise try to survive a fork, and warn of each; this program only forks to execute.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    try:
        asyncio.run(_run(options))
    except BaseExceptionGroup as group:
        if not is_only(group, MftError):
            raise
        raise first_error(group) from group


async def _run(options: ControllerOptions) -> None:
    log = structlog.get_logger()
    terminated = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _terminate, terminated)
    own = await asyncio.to_thread(_home, options)
    async with AsyncExitStack() as stack:
        if options.embedded_etcd:
            host, port = options.embedded_etcd
            server = EmbeddedEtcd(options.folder, f"{host}:{port}")
            await stack.enter_async_context(server.running())
        etcd = await stack.enter_async_context(
            EtcdClient(options.instance.etcd.endpoints, tls=options.instance.etcd.tls())
        )
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        management = assemble(own, etcd, make_host_keys, options.deliveries_days, name=options.instance.name)
        work = [
            tasks.create_task(etcd.servers.check_version(), name="etcd-version"),
            tasks.create_task(management.run(), name="management"),
            tasks.create_task(_answer(options, own, management), name="admin-service"),
            tasks.create_task(_link(options, own, management, etcd).run(), name="links"),
        ]
        if options.with_agent:
            work.append(tasks.create_task(_keep_agent(options, own), name="agent"))
        await terminated.wait()
        log.info("stopping")
        await cancel_and_wait(*reversed(work))


def _terminate(terminated: asyncio.Event) -> None:
    if terminated.is_set():
        os._exit(1)  # The second signal: at once. Whatever descends from here is ended by the kernel.
    terminated.set()


def _home(options: ControllerOptions) -> home.Home:
    """Read the cluster's keys; for the one-host start make them if the folder has none."""
    cluster = options.instance.cluster
    if options.embedded_etcd and not (options.folder / home.SIGNING_KEY).exists():
        structlog.get_logger().info("a new cluster: its keys are made", folder=str(options.folder))
        return home.init(options.folder, cluster)
    return home.load(options.folder, cluster)


async def _answer(options: ControllerOptions, own: home.Home, management: Management) -> None:
    host, port = options.listen
    listen = Listen(host, port, options.certificate, options.key, options.insecure)

    def ready(bound: int) -> None:
        structlog.get_logger().info(
            "ready for administrators", address=f"{host}:{bound}", token=str(own.folder / home.TOKEN)
        )

    await serve(management.operations, own.token, listen, ready, management.transfers)


def _link(options: ControllerOptions, own: home.Home, management: Management, etcd: EtcdClient) -> LinkServer:
    host, port = options.link_listen
    return LinkServer(
        options.instance.name,
        etcd,
        Keys(options.instance.cluster),
        key=own.signing_key,
        trust=own.pinned.trust(),
        store=management.transfers.deliveries,
        links=management.links,
        listen=LinkListen(host, port, options.link_addresses),
        lease_ttl_s=options.instance.lease_ttl_s,
    )


async def _keep_agent(options: ControllerOptions, own: home.Home) -> None:
    """Run a guardian with its agent beside the management, started again should it end."""
    folder = Path(options.instance.data)
    await asyncio.to_thread(_give_keys, folder, own)
    arguments = json.encode(options.instance).decode(), str(os.getpid())
    waits = backoff(0.5, 10.0)
    while True:
        began = asyncio.get_running_loop().time()
        process = await asyncio.create_subprocess_exec(*python_command("mft.agent.guardian", *arguments))
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        if status == EXIT_USAGE:
            raise Invalid("the agent cannot start with these options; see its last line")
        if asyncio.get_running_loop().time() - began > _STEADY_S:
            waits = backoff(0.5, 10.0)
        await asyncio.sleep(next(waits))


def _give_keys(folder: Path, own: home.Home) -> None:
    """Let the controller's own agent know the cluster's keys: it lives beside them and need not ask."""
    files.make_folder(folder)
    trust_file.save(folder, own.pinned)
