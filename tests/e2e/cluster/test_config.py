"""The config as administrators change it: live, complete or not at all, and refused where it cannot be used."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from mft.cluster.manifest import Manifest, sign
from mft.cluster.sign import SigningKey
from mft.etcd.client import EtcdClient
from mft.events import catalogue
from tests.rig.cluster import Cluster, Eye, HeldSession, greets, held_port, held_session
from tests.rig.sftp import sftp_batch
from tests.rig.waiting import eventually, free_port, on_this_machine

LIVE_S_MAX = 1.5
"""The second that is promised, and what it takes to look; on a machine that does nothing else."""


async def _apply_file(cluster: Cluster, document: object) -> float:
    """Apply by the program; return when it had ended, on the monotonic clock."""
    file = cluster.folder / "config.json"
    file.write_text(json.dumps(document), "utf-8")
    result = await cluster.admin("config", "apply", str(file))
    assert result.code == 0, result.errors
    return time.monotonic()


async def _use(session: HeldSession, cluster: Cluster, name: str) -> None:
    """Prove that a held session still works: it uploads, lists and downloads."""
    source, back = cluster.folder / f"{name}.src", cluster.folder / f"{name}.back"
    source.write_bytes(name.encode() * 5000)
    await session.do(f"put {source} {name}")
    await session.do(f"get {name} {back}")
    await eventually(lambda: back.exists() and back.read_bytes() == source.read_bytes(), 30, what="file came back")
    assert session.alive()


async def test_changes_are_live_and_drop_no_session(cluster: Cluster) -> None:
    """Goal: an applied version is live on both nodes within a second, and no session of an untouched service ends.

    Method: hold a session of OpenSSH's sftp on each node over four applies: a new service, a changed account, another
    port for that service, the service removed. After each measure how long until both nodes behave so; then use both.
    """
    document = cluster.base()
    key, ports = cluster.partner.key, [(free_port(), free_port()) for _ in range(2)]
    took: list[float] = []
    async with (
        held_session(cluster.ports["a"], "alice", key) as on_a,
        held_session(cluster.ports["b"], "alice", key) as on_b,
    ):
        await _use(on_a, cluster, "before-a")
        await _use(on_b, cluster, "before-b")
        for wanted in (*ports, ()):
            if wanted:
                document["services"]["extra"] = {
                    "type": "sftp",
                    "run_on": "nodes",
                    "listener": {"address": "127.0.0.1", "port": wanted[0]},
                }
                document["nodes"]["b"]["overrides"]["services"]["extra"] = {"listener": {"port": wanted[1]}}
            else:
                del document["services"]["extra"], document["nodes"]["b"]["overrides"]["services"]["extra"]
            applied = await _apply_file(cluster, document)
            gone = [each for pair in ports for each in pair if each not in wanted]

            async def is_live(wanted: Sequence[int] = wanted, gone: Sequence[int] = gone) -> bool:
                return all([await greets(each) for each in wanted]) and not any([await greets(each) for each in gone])

            await eventually(is_live, what=f"services on {wanted} only")
            took.append(time.monotonic() - applied)
        document["accounts"]["bob"] = {**document["accounts"]["alice"], "home_folder_path": str(cluster.folder / "bob")}
        applied = await _apply_file(cluster, document)

        async def bob_on_both() -> bool:
            codes = [
                (await sftp_batch(cluster.ports[name], "bob", ["pwd"], key=key, check=False)).code for name in "ab"
            ]
            return codes == [0, 0]

        await eventually(bob_on_both, 60, what="bob logs in on both nodes")
        took.append(time.monotonic() - applied)
        await _use(on_a, cluster, "after-a")
        await _use(on_b, cluster, "after-b")
        assert await on_a.quit() == 0
        assert await on_b.quit() == 0
    print("live after, in seconds:", [round(each, 2) for each in took])
    assert min(took) < on_this_machine(LIVE_S_MAX)


async def test_an_upload_outlives_the_last_service(cluster: Cluster) -> None:
    """Goal: removing a service lets open files be finished, also if it was the only one here.

    Method: remove all services while OpenSSH's sftp, its bandwidth limited, uploads to one.
    """
    document = cluster.base()
    document["services"]["main"]["drain_s"] = 60.0  # No more than the listener is looked at to restart a service.
    await cluster.whole("a", version=await cluster.apply(document))
    del document["services"], document["nodes"]["b"]["overrides"]
    source, name = cluster.folder / "slow.src", "slow.dat"
    source.write_bytes(b"slow" * 250_000)
    (cluster.home / name).unlink(missing_ok=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            sftp_batch(
                cluster.ports["a"], "alice", [f"put {source} {name}"], key=cluster.partner.key, options=["-l", "2000"]
            ),
            name="upload",
        )
        await eventually(lambda: f"opened /{name} for writing" in cluster.log_of("a"), 30, what="the upload has begun")
        await cluster.apply(document)

        async def is_closed() -> bool:
            return not await greets(cluster.ports["a"])

        await eventually(is_closed, 30, what="nobody listens")
    assert (cluster.home / name).read_bytes() == source.read_bytes()
    await eventually(lambda: not cluster.nodes["a"].workers("inbound"), 40, what="no worker is kept for nothing")


async def test_five_mistakes_are_five_errors_and_nothing_is_written(cluster: Cluster, eye: Eye) -> None:
    """Goal: bad input is told at once and whole, and changes nothing. Method: five mistakes of different kinds."""
    file = cluster.folder / "bad.toml"
    file.write_text(
        f"""
[services.main]
type = "sftp"
listener = {{ address = "127.0.0.1", port = 99999 }}
[services.second]
type = "sftp"
listner = {{ port = 2222 }}
[accounts.alice]
home_folder_path = 5
[locations.shared]
type = "local"
root = "{cluster.home}"
[transfers.out]
source_location = "shared"
source_path = "outgoing"
destination_location = "nowhere"
destination_path = "in"
[transfers.other]
source_location = "shared"
source_path = "outgoing2"
destination_location = "shared"
destination_path = "in"
poll_interval_s = "often"
""",
        "utf-8",
    )
    before = await eye.version()
    result = await cluster.admin("config", "apply", str(file))
    assert result.code == 1, result
    lines = [line.strip() for line in result.errors.splitlines()[1:]]
    for path in (
        "services.main.listener.port",
        "services.second.listner",
        "accounts.alice.home_folder_path",
        "transfers.out.destination_location",
        "transfers.other.poll_interval_s",
    ):
        assert any(line.startswith(path) for line in lines), (path, result.errors)
    assert "Traceback" not in result.errors + result.output
    assert await eye.version() == before


async def test_a_taken_port_is_told_and_heals(cluster: Cluster) -> None:
    """Goal: a port that is taken stops that service on that node alone, is told, and heals when it is freed.

    Method: another program holds the port that only node b's second service wants.
    """
    document, port = cluster.base(), free_port()
    document["services"]["second"] = {
        "type": "sftp",
        "run_on": ["b"],
        "listener": {"address": "127.0.0.1", "port": port},
    }
    with held_port(port):
        version = await cluster.apply(document)

        async def is_told() -> bool:
            nodes = await cluster.listed()
            return "services.second" in nodes["b"].problems and nodes["b"].version_applied == version

        await eventually(is_told, 30, what="nodes list shows the problem", every_s=0.1)
        shown = await cluster.admin("nodes", "list")
        assert f"127.0.0.1:{port}" in " ".join(shown.output.split()) or str(port) in shown.output
        await cluster.whole("a", version=version)
        listed = await cluster.listed()
        assert not listed["a"].problems
        assert listed["b"].state == "degraded"
        await eventually(lambda: f'"id":{catalogue.COMPONENT_FAILED}' in cluster.log_of("b"), 30, what="event of b")
        for name in "ab":
            await eventually(partial(greets, cluster.ports[name]), what=f"{name} still serves")
    await cluster.whole("a", "b", version=version)
    await eventually(lambda: greets(port), what="the second service")


async def test_each_instance_has_its_own_event_log(cluster: Cluster) -> None:
    """Goal: `{host.name}` gives each instance a file of its own, its missing parents made. Method: look at all three.

    Some of the events must be there: the one that says that the config is in use.
    """
    for name in ("a", "b", "ctl"):

        def is_there(name: str = name) -> bool:
            return "in use" in cluster.log_of(name)

        await eventually(is_there, 30, what=f"event log of {name}")
        for line in cluster.log_of(name).splitlines():
            json.loads(line)


async def test_an_undefined_variable_is_rejected_there_alone(cluster: Cluster) -> None:
    """Goal: a version that one node cannot use leaves its old one running, and is told. Method: a variable of a only.

    Six such versions, more than a node keeps: after a restart without etcd the node must still serve the old one.
    """
    document = cluster.base()
    document["nodes"]["a"] = {"variables": {"place": str(cluster.home)}}
    version = 0
    for number in range(6):
        document["accounts"]["carol"] = {
            "home_folder_path": "{node.var.place}",
            "description": f"number {number}",
            "ssh_authorized_keys": document["accounts"]["alice"]["ssh_authorized_keys"],
        }
        version = await cluster.apply(document)

        async def is_rejected(version: int = version) -> bool:
            nodes = await cluster.listed()
            return bool(nodes["a"].version_applied == version and nodes["b"].version_rejected == version)

        await eventually(is_rejected, 30, what="a applies, b rejects", every_s=0.1)
    b = (await cluster.listed())["b"]
    assert "node.var.place" in b.reason
    assert 0 < b.version_applied <= version - 6
    await sftp_batch(cluster.ports["b"], "alice", ["pwd"], key=cluster.partner.key)
    await sftp_batch(cluster.ports["a"], "carol", ["pwd"], key=cluster.partner.key)
    assert cluster.etcd is not None
    cluster.etcd.pause()
    try:
        cluster.nodes["b"].kill()
        cluster.nodes["b"].launch()
        await eventually(lambda: greets(cluster.ports["b"]), 40, what="b serves from its disk", every_s=0.1)
        await sftp_batch(cluster.ports["b"], "alice", ["pwd"], key=cluster.partner.key)
    finally:
        cluster.etcd.resume()


async def test_a_foreign_signature_is_refused(cluster: Cluster) -> None:
    """Goal: who can write to etcd cannot make nodes follow. Method: put a manifest of a foreign key, move the pointer.

    Both nodes must say why and keep what they run; the administrator's next version, on top of that, puts it right.
    """
    before = (await cluster.listed())["a"].version_applied
    async with EtcdClient([cluster.endpoint]) as client:
        pointer = (await client.kv.get(cluster.keys.current)).value
        good = (await client.kv.get(cluster.keys.version(before))).value
        assert pointer is not None
        assert good is not None
        number = before + 1
        await client.kv.put(cluster.keys.version(number), _resigned(good, number))
        await client.kv.put(cluster.keys.current, pointer.replace(str(before).encode(), str(number).encode()))

        async def is_refused() -> bool:
            nodes = await cluster.listed()
            return all(nodes[name].version_rejected == number and nodes[name].reason for name in "ab")

        await eventually(is_refused, 30, what="both nodes refuse it", every_s=0.1)
        nodes = await cluster.listed()
        assert {nodes[name].version_applied for name in "ab"} == {before}
        await sftp_batch(cluster.ports["a"], "alice", ["pwd"], key=cluster.partner.key)
    document = cluster.base()
    document["server"]["description"] = "after the attack"
    await cluster.whole("a", "b", version=await cluster.apply(document))


def _resigned(data: bytes, number: int) -> bytes:
    """Give a manifest another number, signed by a key that nobody trusts."""
    key = SigningKey.generate()
    manifest = msgspec.json.decode(data.partition(b"\n")[0], type=Manifest)
    return sign(msgspec.structs.replace(manifest, version=number, key_id=key.id), key).data


async def test_a_lost_folder_needs_the_administrator(cluster: Cluster, tmp_path: Path) -> None:
    """Goal: a machine that lost its folder does not slip in under the old name; the operator is told what to do.

    Method: start a node `c`, end it, remove its folder, start it again; then `mft-admin nodes forget c`.
    """
    document = cluster.base()
    document["services"]["main"]["run_on"] = ["a", "b"]
    await cluster.apply(document)
    node = cluster.node("c")
    try:
        node.launch()
        await cluster.whole("c")
        assert await node.terminate() == 0
        node.data.rename(tmp_path / "lost")
        node.launch()
        assert await node.ended(60) != 0
        assert "mft-admin nodes forget c" in node.text()
        assert "Traceback" not in node.text()
        forgotten = await cluster.admin("nodes", "forget", "c")
        assert forgotten.code == 0, forgotten.errors
        node.launch()
        await cluster.whole("c")
        refused = await cluster.admin("nodes", "forget", "c")
        assert refused.code == 3, refused
    finally:
        node.kill()
        cluster.nodes.pop("c")
