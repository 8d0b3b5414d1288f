"""A cluster of real programs, started as users start them: etcd, a controller, nodes, a partner, and `mft-admin`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mft.cli.admin_client import Server, connect, read_token
from mft.cluster.keys import Keys
from mft.cluster.membership import decode_candidate
from mft.errors import MftError
from mft.etcd.client import EtcdClient
from mft.pb.admin.v1 import admin_pb2 as pb
from tests.rig.binaries import find
from tests.rig.etcd import Etcd
from tests.rig.etcd_cluster import EtcdCluster
from tests.rig.processes import ServerProcess, descendants, is_alive, signal_tree
from tests.rig.sshd import Sshd
from tests.rig.waiting import eventually, free_port

TTL_S = 5
READY_LIMIT_S = 80.0
"""Programs on a busy machine with two cores take seconds to start; a limit is only met by what is broken."""

Document = dict[str, Any]


def clean_environment(**more: str) -> dict[str, str]:
    """Give the environment for a program: settings in the developer's shell are not for it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MFT_", "ETCD"))}
    return kept | more


def program(name: str) -> str:
    """Return the path of one of our programs, as it was installed beside the interpreter."""
    return str(Path(sys.executable).with_name(name))


class Program(ServerProcess):
    """`mft-node` or `mft-controller`, with all that descends from it."""

    def __init__(self, name: str, command: Sequence[str | Path], folder: Path) -> None:
        self.name = name
        self.data = folder / name
        super().__init__(command, folder / f"{name}.log", clean_environment())

    def family(self) -> list[int]:
        """Return the pids of the program and of everything that descends from it."""
        return [self.pid, *descendants(self.pid)]

    def agent(self) -> int:
        """Return the agent's pid, 0 if there is none now."""
        return next(iter(self._having("mft.agent.main")), 0)

    def workers(self, kind: str) -> list[int]:
        """Return the pids of the workers of this kind."""
        return self._having("mft.worker.main", kind)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program alone: to the guardian, or the controller."""
        os.kill(self.pid, number)

    async def ended(self, limit_s: float = 40.0) -> int:
        """Wait until the program has ended and return its exit status."""
        process = self._process
        assert process is not None
        await eventually(lambda: process.poll() is not None, limit_s, what=f"end of {self.name}")
        return process.returncode

    def text(self) -> str:
        """Return all that it has logged."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def _having(self, *words: str) -> list[int]:
        found = []
        for pid in descendants(self.pid) if self.running() else []:
            with contextlib.suppress(OSError):
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                if all(word in arguments for word in words):
                    found.append(pid)
        return found


async def all_ended(pids: Sequence[int], limit_s: float = 30.0) -> None:
    """Wait until none of these processes runs."""
    await eventually(lambda: not [pid for pid in pids if is_alive(pid)], limit_s, what=f"end of {pids}")


async def greets(port: int) -> bool:
    """Say whether an SSH server answers on this port of 127.0.0.1."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        async with asyncio.timeout(10):
            return (await reader.readline()).startswith(b"SSH-2.0-")
    except (TimeoutError, OSError):
        return False
    finally:
        writer.close()


class AdminResult(NamedTuple):
    """What a run of `mft-admin` came to."""

    code: int
    output: str
    errors: str


class Cluster:
    """Etcd, a controller, nodes, and an OpenSSH server as partner. Started again, each keeps its ports and folders."""

    def __init__(self, folder: Path, *, embedded: bool = False, etcd_members: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.keys = Keys("default")
        self.etcd: Etcd | EtcdCluster | None = None
        if not embedded:
            self.etcd = Etcd(folder / "etcd") if etcd_members == 1 else EtcdCluster(folder / "etcd", etcd_members)
        self.endpoint = f"127.0.0.1:{free_port()}" if self.etcd is None else self.etcd.endpoint
        self.partner = Sshd(folder / "partner")
        self.admin_address = f"127.0.0.1:{free_port()}"
        self.nodes: dict[str, Program] = {}
        self.ports = {"a": free_port(), "b": free_port()}
        """Where the service `main` listens on each node."""
        self.home = folder / "home"
        self.outgoing = self.home / "outgoing"
        self.inbox = self.partner.home / "inbox"
        for path in (self.outgoing, self.inbox):
            path.mkdir(parents=True)
        where = ["--embedded-etcd", "--embedded-etcd-listen", self.endpoint]
        command: list[str | Path] = [
            program("mft-controller"),
            *("--name", "ctl", "--listen", self.admin_address, "--data", folder / "ctl"),
            *("--link-listen", "127.0.0.1:0"),
            *("--lease-ttl", str(TTL_S), "--inbound-workers", "1", "--outbound-workers", "1"),
            *(where if embedded else ["--etcd", self.endpoint]),
        ]
        self.controller = Program("ctl", command, folder)
        self.token_file = folder / "ctl" / "admin.token"

    # ---- programs

    def node(self, name: str, *options: str, etcd: str = "") -> Program:
        """Describe a node, without starting it; asked again it gives the same one."""
        if name not in self.nodes:
            command = [program("mft-node"), "--name", name, "--etcd", etcd or self.endpoint]
            command += ["--data", str(self.folder / name), "--lease-ttl", str(TTL_S), "--inbound-workers", "1"]
            command += ["--outbound-workers", "1", *options]
            self.nodes[name] = Program(name, command, self.folder)
        return self.nodes[name]

    async def start(self, *names: str) -> None:
        """Start etcd, the partner, the controller and these nodes, and wait until administrators are answered."""
        if self.etcd is None:
            self.controller.launch()
        else:
            await asyncio.gather(self.begin_home(), self.etcd.start(), self.partner.start())
            self.controller.launch()
        for name in names:
            self.node(name).launch()
        with self.controller.explained():
            await eventually(self.answers, READY_LIMIT_S, what="the controller answers", every_s=0.1)

    async def begin_home(self) -> None:
        """Make the cluster's keys, as `mft-controller init` does."""
        process = await asyncio.create_subprocess_exec(
            *(program("mft-controller"), "init", "--data", str(self.folder / "ctl")),
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
        )
        assert await process.wait() == 0

    async def whole(self, *names: str, version: int = 0) -> None:
        """Wait until these instances run, are ready, and have at least this version, after whatever a test has done."""
        if self.etcd is not None and not self.etcd.running():
            await self.etcd.start()
        if not self.partner.running():
            await self.partner.start()
        for one in (self.controller, *(self.nodes[name] for name in names if name in self.nodes)):
            if not one.running():
                one.launch()
        await eventually(
            lambda: self.are_ready(*names, version=version), READY_LIMIT_S, what=f"{names} are ready", every_s=0.1
        )

    def kill(self) -> None:
        """End everything."""
        for each in (*self.nodes.values(), self.controller, self.partner):
            each.kill()
        if self.etcd is not None:
            self.etcd.kill()

    # ---- administration

    async def admin(self, *arguments: str, text: str = "", limit_s: float = 80.0) -> AdminResult:
        """Run `mft-admin` with these arguments and `text` as standard input."""
        environment = clean_environment(MFT_ADMIN=self.admin_address, MFT_ADMIN_TOKEN_FILE=str(self.token_file))
        process = await asyncio.create_subprocess_exec(
            program("mft-admin"),
            *arguments,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(limit_s):
                output, errors = await process.communicate(text.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return AdminResult(process.returncode, output.decode(), errors.decode())

    async def apply(self, document: Document) -> int:
        """Apply a document over gRPC and return the version."""
        request = pb.ApplyRequest(document=json.dumps(document).encode(), author="test")
        return int((await self._call("config", "Apply", request)).version)

    async def listed(self) -> dict[str, Any]:
        """Return what the controller says of each instance, by name."""
        answer = await self._call("cluster", "ListNodes", pb.ListNodesRequest())
        return {node.name: node for node in answer.nodes}

    async def answers(self) -> bool:
        """Say whether administrators are answered."""
        try:
            await self._call("cluster", "GetStatus", pb.GetStatusRequest())
        except MftError:
            return False
        return True

    async def are_ready(self, *names: str, version: int = 0) -> bool:
        """Say whether these instances are ready and run at least this version."""
        try:
            known = await self.listed()
        except MftError:
            return False
        return all(
            name in known and known[name].state == "ready" and known[name].version_applied >= version for name in names
        )

    async def _call(self, service: str, method: str, request: Any) -> Any:
        def call() -> Any:
            with connect(Server(self.admin_address, read_token(self.token_file))) as client:
                return client.call(getattr(getattr(client, service), method), request)

        return await asyncio.to_thread(call)

    # ---- what is so

    @asynccontextmanager
    async def eye(self) -> AsyncIterator[Eye]:
        """Open a connection to etcd, to see who leads without asking the controller."""
        async with EtcdClient(self.endpoint.split(",")) as client:
            yield Eye(client, self.keys)

    # ---- configs

    def base(self) -> Document:
        """Return a config: one SFTP service on the nodes, one account, one transfer to the partner, one event log."""
        return {
            "server": {"name": "e2e"},
            "services": {
                "main": {
                    "type": "sftp",
                    "run_on": "nodes",
                    "listener": {"address": "127.0.0.1", "port": self.ports["a"]},
                    "drain_s": 5.0,
                }
            },
            "nodes": {"b": {"overrides": {"services": {"main": {"listener": {"port": self.ports["b"]}}}}}},
            "accounts": {
                "alice": {
                    "home_folder_path": str(self.home),
                    "ssh_authorized_keys": [self.partner.key.with_suffix(".pub").read_text("utf-8").strip()],
                }
            },
            "locations": {
                "shared": {"type": "local", "root": str(self.home)},
                "partner": {
                    "type": "sftp",
                    "address": self.partner.host,
                    "port": self.partner.port,
                    "username": self.partner.user,
                    "private_key": self.partner.key.read_text("utf-8"),
                    "host_keys": [self.partner.host_key],
                    "connect_timeout_s": 5.0,
                    "call_timeout_s": 10.0,
                },
            },
            "transfers": {
                "out": {
                    "run_on": "nodes",
                    "leader_group": "default",
                    "source_location": "shared",
                    "source_path": "outgoing",
                    "destination_location": "partner",
                    "destination_path": str(self.inbox),
                    "poll_interval_s": 0.2,
                    "stable_interval_s": 0,
                }
            },
            "event-handlers": {
                "log": {
                    "type": "local-file",
                    "path": f"{self.folder}/logs/made/for/mft-{{host.name}}.log",
                    "format": "json",
                }
            },
        }

    def log_of(self, name: str) -> str:
        """Return what the event handler of this instance has written."""
        path = self.folder / "logs" / "made" / "for" / f"mft-{name}.log"
        return path.read_text("utf-8") if path.exists() else ""

    def give(self, *names: str, size_bytes: int = 20_000) -> None:
        """Put files of random content into the transfer's source folder, each complete at once."""
        for name in names:
            hidden = self.outgoing / f".{name}.tmp"
            hidden.write_bytes(os.urandom(size_bytes))
            hidden.rename(self.outgoing / name)


class Eye:
    """Looks into etcd."""

    def __init__(self, client: EtcdClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def candidates(self, group: str = "default") -> list[str]:
        """Return the names of the candidates of a leader group, the leader first."""
        listing = await self._client.kv.get_prefix(self._keys.election(group))
        ordered = sorted(listing.kvs, key=lambda kv: kv.create_revision)
        return [decode_candidate(kv.value).name for kv in ordered]

    async def leader(self, *, not_: str = "", limit_s: float = 60.0) -> str:
        """Wait until somebody (but `not_`) leads, and return who."""

        async def look() -> str:
            names = await self.candidates()
            return names[0] if names and names[0] != not_ else ""

        return await eventually(look, limit_s, what="a leader")

    async def records(self, transfer: str = "out") -> list[str]:
        """Return the ids of the deliveries that the journal has open."""
        prefix = self._keys.journal(transfer)
        return [kv.key.removeprefix(prefix) for kv in (await self._client.kv.get_prefix(prefix)).kvs]

    async def version(self) -> int:
        """Return how many versions of the config there are."""
        return await self._client.kv.count_prefix(self._keys.versions)


class Consumer:
    """At the partner: takes each file as soon as it appears, so that a late second copy is seen as one more."""

    def __init__(self, inbox: Path, into: Path) -> None:
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        self._inbox = inbox
        self._into = into
        self.took: list[tuple[str, float]] = []
        """Each file's name and when it was taken, on the monotonic clock."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Consumer]:
        """Take files until the block ends."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self._run(), name="consumer")
            try:
                yield self
            finally:
                task.cancel()

    async def _run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.004)

    def look(self) -> None:
        """Take what is there now."""
        for name in sorted(os.listdir(self._inbox)):
            if not name.startswith("."):
                (self._inbox / name).rename(self._into / f"{len(self.took):06d}-{name}")
                self.took.append((name, time.monotonic()))

    @property
    def names(self) -> list[str]:
        """The names of what was taken, in order."""
        return [name for name, _ in self.took]

    def content(self, name: str) -> bytes:
        """Return what the first file of this name held."""
        index = self.names.index(name)
        return (self._into / f"{index:06d}-{name}").read_bytes()


@contextlib.contextmanager
def held_port(port: int) -> Iterator[None]:
    """Have this port of 127.0.0.1 taken by somebody else while the block runs."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


class HeldSession:
    """OpenSSH's `sftp` logged in and waiting for commands: a session that must survive what a test does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, command: str) -> None:
        """Give it one command. It ends at the first that fails."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()

    def alive(self) -> bool:
        """Say whether the session is still there."""
        return self._process.returncode is None

    async def quit(self) -> int:
        """End it in order and return its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return await self._process.wait()


@asynccontextmanager
async def held_session(port: int, user: str, key: Path) -> AsyncIterator[HeldSession]:
    """Log in with OpenSSH's `sftp` and stay."""
    options = ("StrictHostKeyChecking=no", f"UserKnownHostsFile={os.devnull}", "LogLevel=ERROR", "IdentitiesOnly=yes")
    process = await asyncio.create_subprocess_exec(
        str(find("sftp")),
        *("-F", os.devnull, "-P", str(port), "-i", str(key), "-b", "-"),
        *(part for option in options for part in ("-o", option)),
        f"{user}@127.0.0.1",
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield HeldSession(process)
    finally:
        if process.returncode is None:
            signal_tree(process.pid, signal.SIGKILL)
            await process.wait()
