"""The demo's cluster: controller with embedded etcd and two nodes, started as a user starts them, in one folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from mft.cli.admin_client import Client, Server, connect, read_token
from mft.cli.demo_partner import INBOX, Partner, make_key
from mft.cli.demo_processes import Program, free_port, own_command, running, until
from mft.cli.demo_upload import ACCOUNT, Customer
from mft.controller import home
from mft.errors import MftError, Unavailable
from mft.model.transfers import DEFAULT_GROUP
from mft.pb.admin.v1 import admin_pb2 as pb

NODES = ("a", "b")
CLUSTER = "default"
TRANSFER = "to-partner"
LEASE_TTL_S = 5
_START_S_MAX = 60.0
_ASK_EVERY_S = 0.1

Answer = TypeVar("Answer")

_CONFIG = """\
# What the demo applies. Customers upload into one folder through either node; the elected node sends on what appears.
[server]
name = "demo"

[services.sftp]
type = "sftp"
run_on = "nodes"
listener = {{ address = "127.0.0.1", port = {port_a} }}

[nodes.b.overrides.services.sftp.listener]
port = {port_b}  # Both nodes are on this machine, so they cannot listen on the same port.

[accounts.{account}]
ssh_authorized_keys = ["{customer_key}"]
home_folder_path = "{storage}"

[locations.storage]
type = "local"
root = "{storage}"

[locations.partner]
type = "sftp"
address = "127.0.0.1"
port = {partner_port}
username = "{partner_user}"
host_keys = ["{partner_host_key}"]
private_key = '''
{partner_key}'''
parallel_files_max = 4  # So few that there is time to watch, and to kill the leader at work.

[transfers.{transfer}]
name = "Orders to the partner"
run_on = "nodes"
leader_group = "{group}"
source_location = "storage"
source_path = "outgoing"
destination_location = "partner"
destination_path = "{inbox}"
poll_interval_s = {poll_interval_s}
stable_interval_s = 0  # Uploads appear under their names when they are complete.

[event-handlers.log]
name = "Log File"
type = "local-file"
path = "{logs}/events-{{host.name}}.log"
"""


class Cluster:
    """The running programs, and the controller's answers."""

    def __init__(self, folder: Path, lifetime: AsyncExitStack) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.outgoing = self.storage / "outgoing"
        self.logs = folder / "logs"
        self.etcd = f"127.0.0.1:{free_port()}"
        self.admin = f"127.0.0.1:{free_port()}"
        self.token_file = folder / "controller" / home.TOKEN
        self.config_file = folder / "demo.toml"
        self.ports = {name: free_port() for name in NODES}
        self.nodes: dict[str, Program] = {}
        self.customer = Customer(folder / "customer" / "key", folder / "customer" / "known_hosts")
        self._lifetime = lifetime
        self._programs: list[Program] = []

    async def begin(self) -> None:
        """Start controller, etcd and nodes, as soon as each can be of use."""
        self.outgoing.mkdir(parents=True)
        self.customer.key.parent.mkdir()
        await asyncio.to_thread(make_key, self.customer.key, ACCOUNT)
        controller = await self._run(
            "the controller",
            own_command(
                "controller",
                *("--embedded-etcd", "--embedded-etcd-listen", self.etcd, "--listen", self.admin),
                *("--link-listen", "127.0.0.1:0"),
                *("--name", "controller", "--data", str(self.folder / "controller"), "--no-agent"),
            ),
            "controller",
        )
        for name in NODES:
            await self.begin_node(name)
        await until(lambda: controller.check_running() and self.token_file.exists(), _START_S_MAX, "the controller")

    async def begin_node(self, name: str) -> None:
        """Start one node, or start it again after it was killed."""
        command = own_command(
            "node",
            *("--name", name, "--etcd", self.etcd, "--data", str(self.folder / f"node-{name}")),
            *("--lease-ttl", str(LEASE_TTL_S), "--inbound-workers", "1", "--outbound-workers", "1", "--stop", "1"),
        )
        self.nodes[name] = await self._run(f"node {name}", command, f"node-{name}")

    async def apply(self, partner: Partner, poll_interval_s: int) -> int:
        """Write the example config and have the controller publish it. Returns its version.

        Raises:
            MftError: the controller refuses it, or does not answer in time.
        """
        text = self._document(partner, poll_interval_s)
        await asyncio.to_thread(_write, self.config_file, text)
        request = pb.ApplyRequest(document=text.encode(), author="mft-demo", comment="the demo's config")

        async def applied() -> int:
            answer: pb.ApplyResponse = await self._ask(lambda client: client.call(client.config.Apply, request))
            return answer.version

        return await self._patiently(applied, "a version of the config")

    async def leader(self) -> str:
        """Return who leads, once all nodes that run are ready and one of them leads."""

        async def led() -> str:
            answer = await self._ask(lambda client: client.call(client.cluster.ListNodes, pb.ListNodesRequest()))
            ready = {node.name for node in answer.nodes if node.state == "ready"}
            leads = [node.name for node in answer.nodes if DEFAULT_GROUP in node.leads]
            return leads[0] if ready >= self.nodes.keys() and leads else ""

        return await self._patiently(led, "two ready nodes and a leader")

    async def _ask(self, question: Callable[[Client], Answer]) -> Answer:
        return await asyncio.to_thread(self._ask_now, question)

    def _ask_now(self, question: Callable[[Client], Answer]) -> Answer:
        with connect(Server(self.admin, read_token(self.token_file))) as client:
            return question(client)

    async def _patiently(self, ask: Callable[[], Awaitable[Answer]], what: str) -> Answer:
        """Ask until there is an answer. While etcd and the controller are starting they are merely not there yet."""
        why = "nothing was answered"
        try:
            async with asyncio.timeout(_START_S_MAX):
                while True:
                    for program in (self._programs[0], *self.nodes.values()):
                        program.check_running()
                    try:
                        if answer := await ask():
                            return answer
                        why = "not yet"
                    except Unavailable as error:
                        why = str(error)
                    await asyncio.sleep(_ASK_EVERY_S)
        except TimeoutError as error:
            raise MftError(f"{what} did not come within {_START_S_MAX:.0f} s: {why}; see {self.logs}") from error

    def _document(self, partner: Partner, poll_interval_s: int) -> str:
        return _CONFIG.format(
            port_a=self.ports["a"],
            port_b=self.ports["b"],
            account=ACCOUNT,
            customer_key=self.customer.key.with_suffix(".pub").read_text("utf-8").strip(),
            storage=self.storage,
            partner_port=partner.port,
            partner_user=partner.user,
            partner_host_key=partner.host_key,
            partner_key=partner.private_key,
            transfer=TRANSFER,
            group=DEFAULT_GROUP,
            inbox=INBOX,
            logs=self.logs,
            poll_interval_s=poll_interval_s,
        )

    async def _run(self, name: str, command: list[str], log: str) -> Program:
        program = await self._lifetime.enter_async_context(running(name, command, self.logs / f"{log}.log"))
        self._programs.append(program)
        return program

    def terminate_nodes(self) -> None:
        """Ask the nodes to end side by side. The controller with its etcd ends after them: they take leave there."""
        for program in self.nodes.values():
            program.terminate()


@asynccontextmanager
async def run_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Run the cluster for as long as the block does."""
    async with AsyncExitStack() as lifetime:
        cluster = Cluster(folder, lifetime)
        await cluster.begin()
        try:
            yield cluster
        finally:
            cluster.terminate_nodes()


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)  # The partner's key is in it.
    path.write_text(text, "utf-8")
