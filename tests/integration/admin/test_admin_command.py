"""`mft-admin` end to end: what users see, and with which exit code."""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path

from mft.cluster.keys import Keys
from mft.cluster.membership import Ack, Alive, Candidate, encode
from tests.integration.admin.conftest import Admin, Controller
from tests.rig.etcd import Etcd
from tests.rig.waiting import free_port
from tests.unit.model.samples import GOOD

FIVE_MISTAKES = """
[servces.x]

[services.main]
type = "sftp"
listener = {port = "abc"}

[accounts.bob]
home_folder = "/srv/bob"
home_folder_path = "home/bob"

[locations.local]
type = "local"

[transfers.out]
source_location = "local"
source_path = "/out"
destination_location = "nowhere"
destination_path = "in"
"""


async def test_five_mistakes_are_five_lines_and_nothing_is_written(
    admin: Admin, controller: Controller, etcd: Etcd, tmp_path: Path
) -> None:
    """Goal: mend all in one go. Method: five kinds of mistake; then, with the unknown field gone, what it hid."""
    file = tmp_path / "wrong.toml"
    file.write_text(FIVE_MISTAKES.replace('home_folder_path = "home/bob"\n', ""))
    before = await etcd.ctl("get", "--prefix", "--keys-only", Keys(controller.home.pinned.cluster).prefix)
    ended = await admin("config", "apply", file)
    assert ended.code == 1
    assert ended.err.splitlines() == [
        "error: the config has 5 problems",
        "  servces: there is no such family; did you mean services?",
        "  services.main.listener.port: expected a whole number from 1 to 65535, got 'abc'",
        "  accounts.bob.home_folder: there is no such field; did you mean home_folder_path?",
        "  accounts.bob.home_folder_path: missing: expected a text",
        "  transfers.out.destination_location: there is no location 'nowhere'",
    ]
    assert (await admin("config", "check", file)).err == ended.err
    assert await etcd.ctl("get", "--prefix", "--keys-only", Keys(controller.home.pinned.cluster).prefix) == before
    said = json.loads((await admin("config", "apply", file, "--output", "json")).err)
    assert said["error"]["code"] == "MFT-CONFIG-1002"
    assert said["error"]["problems"][0]["path"] == "servces"


async def test_apply_show_history(admin: Admin, tmp_path: Path) -> None:
    """Goal: the everyday round. Method: apply, show, edit what was shown, apply by standard input, history."""
    file = tmp_path / "good.toml"
    file.write_text(GOOD)
    assert (await admin("config", "check", file)).code == 0
    ended = await admin("config", "apply", file, "-m", "first [bold]one")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "version 1 is published: 7 added, 1 changed, 0 removed"
    shown = await admin("config", "show")
    assert tomllib.loads(shown.out)["accounts"]["alice"]["password"] == "***"
    assert "s3cret" not in shown.out
    edited = shown.out.replace("2222", "2200")
    dry = await admin("config", "apply", "-", "--dry-run", stdin=edited)
    assert dry.out.splitlines() == [
        "  ~ services.main",
        "nothing was written; version 1 stays current. It would be: 0 added, 1 changed, 0 removed",
    ]
    assert (await admin("config", "apply", "-", "--base", "1", stdin=edited)).code == 0
    again = await admin("config", "apply", "-", stdin=edited)
    assert again.out == "no change: version 2 already says this\n"
    history = json.loads((await admin("config", "history", "--output", "json")).out)
    assert [(one["version"], one["author"].partition("@")[0]) for one in history] == [(2, "ann"), (1, "ann")]
    assert "first [bold]one" in (await admin("config", "history")).out
    old = json.loads((await admin("config", "show", "--version", "1", "-o", "json")).out)
    assert old["document"]["services"]["main"]["listener"]["port"] == 2222


async def test_exit_codes(admin: Admin, controller: Controller, tmp_path: Path) -> None:
    """Goal: scripts can tell what happened. Method: one command for each code; each error is one line."""
    file, token = tmp_path / "good.toml", tmp_path / "token"
    file.write_text(GOOD)
    token.write_text("wrong")
    address = f"127.0.0.1:{free_port()}"
    assert (await admin("config", "apply", file)).code == 0
    for arguments, code, word in [
        (("config", "apply", tmp_path / "none.toml"), 1, "cannot be read"),
        (("config", "show", "--version", "99"), 1, "no version 99"),
        (("nodes", "forget", "nobody"), 1, "no node nobody"),
        (("config", "apply"), 2, ""),
        (("config", "apply", file, "--base", "7"), 3, "version 1"),
        (("config", "show", "--token-file", token), 4, "admin token"),
        (("transfers", "watch", "--token-file", token), 4, "admin token"),
        (("transfers", "run", "out"), 5, "no instance leads group"),
        (("transfers", "pause", "nothing"), 1, "no transfer nothing"),
        (("deliveries", "--since", "soon"), 1, "neither an age"),
        (("config", "show", "--token-file", tmp_path / "none"), 4, "cannot be read"),
        (("config", "show", "--token-file", file), 4, "holds no token"),
        (("status", "--server", address), 5, f"no controller answers at {address}"),
    ]:
        ended = await admin(*arguments)
        assert ended.code == code, (arguments, ended)
        assert word in ended.err
        assert ended.out == ""
        assert code == 2 or len(ended.err.splitlines()) == 1
    assert controller.home.token not in (await admin("status")).out


async def test_nodes_and_status(admin: Admin, controller: Controller, etcd: Etcd, tmp_path: Path) -> None:
    """Goal: who is there, who leads, what runs. Method: the keys that instances write, of each state."""
    file = tmp_path / "good.toml"
    file.write_text(GOOD)
    assert (await admin("config", "apply", file)).code == 0
    keys = Keys(controller.home.pinned.cluster)

    def alive(name: str, **more: object) -> str:
        fixed = Alive(name=name, role="node", address="h", boot="b", program="0.1.0", pid=1, started_at=1.0)
        return json.dumps({**json.loads(encode(fixed)), **more})

    for key, value in {
        keys.alive("a"): alive("a", ready=True),
        keys.ack("a"): encode(Ack(applied=1)).decode(),
        keys.alive("b"): alive("b", ready=True, problems={"services.main": "port 2222 is taken"}),
        keys.ack("b"): encode(Ack(applied=0, rejected=1, reason="no such variable")).decode(),
        keys.ack("gone"): encode(Ack(applied=1)).decode(),
        keys.alive("odd"): "rubbish",
        keys.candidate("default", 2): encode(Candidate(name="b", boot="b")).decode(),
        keys.candidate("default", 1): encode(Candidate(name="a", boot="b")).decode(),
    }.items():
        await etcd.ctl("put", key, value)
    nodes = {node["name"]: node for node in json.loads((await admin("nodes", "list", "--output=json")).out)}
    assert {name: node["state"] for name, node in nodes.items()} == {
        "a": "ready",
        "b": "degraded",
        "gone": "away",
        "n1": "expected",
    }
    # The key that was made first leads, whatever its name.
    assert (nodes["b"]["leads"], nodes["a"]["leads"], nodes["a"]["candidate"]) == (["default"], [], ["default"])
    assert (nodes["b"]["version_rejected"], nodes["b"]["reason"]) == (1, "no such variable")
    table = (await admin("nodes", "list")).out
    assert "port 2222 is taken" in table
    assert "rejected 1" in table
    status = json.loads((await admin("status", "-ojson")).out)
    assert (status["version"], status["nodes_ready"], status["nodes"]) == (1, 1, 4)
    assert status["leaders"] == {"default": "b"}
    assert "leader    default: b" in (await admin("status")).out
    assert (await admin("nodes", "forget", "a")).code == 3
    assert (await admin("nodes", "forget", "gone")).out == "node gone is forgotten\n"


async def test_help_reads_well(admin: Admin) -> None:
    """Goal: a new user finds the way. Method: every command has help that ends with 0."""
    commands = ["", "config", "nodes", "status", "config apply", "config show", "config history", "config check"]
    commands += ["transfers", "transfers watch", "deliveries", "resend"]
    for ended in await asyncio.gather(*(admin(*command.split(), "--help") for command in commands)):
        assert ended.code == 0
        assert "Usage: mft-admin" in ended.out
