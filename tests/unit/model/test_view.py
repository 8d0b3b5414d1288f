"""What one instance sees: overrides, scope, variables; and that nothing touches a secret."""

from __future__ import annotations

import pytest

from mft.errors import Invalid
from mft.model.check import judge
from mft.model.decode import decode
from mft.model.document import read
from mft.model.view import view
from tests.unit.model.samples import good

CONFIG = """
services.all = {type = "sftp", listener = {port = 1}}
services.off = {type = "sftp", enabled = false, listener = {port = 2}}
services.nodes = {type = "sftp", run_on = "nodes", listener = {port = 3, algorithms = "legacy"}}
services.controller = {type = "sftp", run_on = "controller", listener = {port = 4}}
services.named = {type = "sftp", run_on = ["n1"], listener = {port = 5}}
services.north = {type = "sftp", run_on = {labels = {site = "north"}}, listener = {port = 6}}
nodes.n1 = {labels = {site = "north"}, variables = {partner = "x"}}
nodes.c = {variables = {partner = "z"}}

[nodes.n2]
labels = {site = "south"}
variables = {partner = "y"}

[nodes.n2.overrides.services.nodes]
listener = {port = 33}

[locations.p]
type = "sftp"
address = "{node.var.partner}.net"
username = "{host.name}"
password = "{host.name}"
host_keys = []
"""


def test_scope_leaves_in_what_runs_here() -> None:
    """Goal: each form of run_on. Method: the services that three instances see."""
    config = decode(read(CONFIG))
    assert set(view(config, "n1", "node").services) == {"all", "nodes", "named", "north"}
    assert set(view(config, "n2", "node").services) == {"all", "nodes"}
    assert set(view(config, "c", "controller").services) == {"all", "controller"}


def test_an_override_merges_tables_on_its_node_only() -> None:
    """Goal: an override changes what it names. Method: one field of a listener; the others stay."""
    config = decode(read(CONFIG))
    assert view(config, "n1", "node").services["nodes"].listener.port == 3
    listener = view(config, "n2", "node").services["nodes"].listener
    assert (listener.port, listener.algorithms) == (33, "legacy")


def test_variables_expand_but_never_in_secrets() -> None:
    """Goal: a password with braces stays what it is. Method: the same variable in plain text and in a secret."""
    location = view(decode(read(CONFIG)), "n1", "node").locations["p"]
    assert location.address == "x.net"  # type: ignore[union-attr]
    assert location.username == "n1"  # type: ignore[union-attr]
    assert location.password == "{host.name}"  # type: ignore[union-attr]


def test_an_undefined_variable_rejects_the_view() -> None:
    """Goal: no literal brace reaches a path. Method: an instance that lacks the variable."""
    with pytest.raises(Invalid) as caught:
        view(decode(read(CONFIG)), "unknown", "node")
    assert [problem.path for problem in caught.value.problems] == ["locations.p.address"]


def test_only_the_own_node_remains_and_without_overrides() -> None:
    """Goal: no other node's secrets in a worker. Method: the families `nodes` of a view."""
    seen = view(decode(read(CONFIG)), "n2", "node").nodes
    assert set(seen) == {"n2"}
    assert seen["n2"].overrides == {}


def test_each_instance_has_its_own_log_file() -> None:
    """Goal: the event handler of the example works on each instance. Method: `{host.name}` on two of them."""
    config, _ = judge(good())
    paths = {name: view(config, name, "node").event_handlers["file"].path for name in ("n1", "other")}
    assert paths == {name: f"/var/logs/sftpplus-{name}.log" for name in paths}
