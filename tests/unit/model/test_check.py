"""What must hold between components, and what is said where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mft.model.check import judge
from mft.model.check_starts import zone_problem
from mft.model.document import read
from tests.unit.model.samples import good

OTHER_TYPE = "ssh-ed25519 AAAAB3NzaC1yc2E="
SHORTENED = "ssh-ed25519 AAAA…"
OVER = "nodes/n1/overrides/"


def found_in(document: dict[str, Any]) -> dict[str, str]:
    """Return path → message of all problems."""
    return {problem.path: problem.message for problem in judge(document)[1].problems}


def with_change(path: str, value: Any) -> dict[str, Any]:
    """Return a good document but for one value."""
    document = good()
    table: Any = document
    *way, last = path.split("/")
    for part in way:
        table = table.setdefault(part, {})
    table[last] = value
    return document


def test_a_good_document_has_no_findings() -> None:
    """Goal: no false alarm. Method: the good sample."""
    assert judge(good())[1] == ((), ())


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("transfers/out/source_location", "locla", "transfers.out.source_location"),
        ("transfers/out/destination_path", "../up", "transfers.out.destination_path"),
        ("transfers/out/leader_group", "a/b", "transfers.out.leader_group"),
        ("transfers/out/run_on", "node", "transfers.out.run_on"),
        ("transfers/out/resend_changed", False, "transfers.out.resend_changed"),
        ("accounts/alice/home_folder_path", "home", "accounts.alice.home_folder_path"),
        ("accounts/alice/home_folder_path", "/srv/{node.var.nothing}", "accounts.alice.home_folder_path"),
        ("accounts/alice/password", "short", "accounts.alice.password"),
        ("accounts/alice/ssh_authorized_keys", ["ssh-rsa AAAA"], "accounts.alice.ssh_authorized_keys[0]"),
        ("accounts/alice/ssh_authorized_keys", [OTHER_TYPE], "accounts.alice.ssh_authorized_keys[0]"),
        ("locations/local/root", "srv", "locations.local.root"),
        ("accounts/alice/ssh_authorized_keys", [SHORTENED], "accounts.alice.ssh_authorized_keys[0]"),
        ("locations/partner/host_keys", ["SHA256:abc"], "locations.partner.host_keys[0]"),
        ("locations/partner/host_keys", ["SHA256:…"], "locations.partner.host_keys[0]"),
        ("locations/partner/host_keys", [SHORTENED], "locations.partner.host_keys[0]"),
        ("locations/partner/host_keys", [], "locations.partner.host_keys"),
        ("locations/partner/private_key", "no key", "locations.partner.private_key"),
        ("event-handlers/file/path", "log.txt", "event-handlers.file.path"),
        ("services/main/listener/address", "localhost", "services.main.listener.address"),
        ("services/main/listener/proxy_trusted", ["10.0.0.0/33"], "services.main.listener.proxy_trusted[0]"),
        ("services/main/listener/proxy_protocol", "required", "services.main.listener.proxy_trusted"),
        ("nodes/n1/overrides/services/gone", {}, "nodes.n1.overrides.services.gone"),
        ("nodes/n1/overrides/nodes/n1", {}, "nodes.n1.overrides.nodes"),
        ("nodes/n1/overrides/services/main", {"prot": 1}, "nodes.n1.overrides.services.main.prot"),
        (OVER + "services/main", {"listener": {"port": 0}}, "nodes.n1.overrides.services.main.listener.port"),
        ("nodes/n1/overrides/transfers/out", {"enabled": False}, "nodes.n1.overrides.transfers.out.enabled"),
        (OVER + "accounts/alice", {"home_folder_path": "x"}, "nodes.n1.overrides.accounts.alice.home_folder_path"),
        ("nodes/n1/overrides/accounts/alice", {"password": "short"}, "nodes.n1.overrides.accounts.alice.password"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_problem_with_its_path(path: str, value: Any, place: str) -> None:
    """Goal: the message stands where the mistake is. Method: a good document with one value changed."""
    assert list(found_in(with_change(path, value))) == [place]


@pytest.mark.parametrize(
    "text",
    ["", " ", "é", "…", "\0", "a\nb", SHORTENED, "SHA256:…", "$6$é", "sealed:é", "٣٣:٣٣-٣٤:٠٠", "²", "[", "{é", "../é"],
)
def test_no_text_ends_the_check(text: str) -> None:
    """Goal: whatever is written somewhere, problems are told and no traceback. Method: it stands for each text in turn.

    Also for those that few configs have: times, zones, calendars, names and steps.
    """
    document = good()
    document["calendars"] = {"c": {"days": ["12-25"]}}
    document["transfers"]["out"] |= {
        "start": {"cron": ["0 6 * * *"], "windows": ["mon 08:00-18:00"], "time_zone": "UTC", "calendars": ["c"]},
        "source_filter": "m/.*/",
        "expect": {"time_zone": "UTC", "by": ["0 8 * * *"], "calendars": ["c"]},
        "names": [{"match": "*", "action": "template", "template": "{name}"}],
        "commands": {"remote_before": ["mkdir a"]},
    }
    document["services"]["main"]["listener"] |= {"address": "::", "proxy_trusted": ["10.0.0.1"]}
    assert not found_in(document)
    tried = 0
    for table, key in list(_texts(document)):
        before, table[key] = table[key], text
        judge(document)
        table[key] = before
        tried += 1
    assert tried > 20


def test_times_by_which_files_are_expected() -> None:
    """Goal: a mistake in a deadline is told when it is applied. Method: no time, no calendar, calendars for nothing."""
    document = good()
    document["calendars"] = {"bank": {"days": ["12-25"]}}
    document["transfers"]["out"]["expect"] = {"by": ["0 8 * * mon-fri"], "calendars": ["bank"]}
    assert not found_in(document)
    document["transfers"]["out"]["expect"] = {"by": ["8:00"], "calendars": ["bnak"], "time_zone": "CEST"}
    assert found_in(document) == {
        "transfers.out.expect.time_zone": zone_problem("CEST"),
        "transfers.out.expect.by[0]": "expected five fields (minute, hour, day, month, weekday), got 1",
        "transfers.out.expect.calendars[0]": "there is no calendar 'bnak'; did you mean bank?",
    }
    document["transfers"]["out"]["expect"] = {"calendars": ["bank"]}
    assert list(found_in(document)) == ["transfers.out.expect.calendars"]


def _texts(table: Any) -> Iterator[tuple[Any, Any]]:
    """Name the place of each text, as what holds it and its key there."""
    for key, value in list(table.items() if isinstance(table, dict) else enumerate(table)):
        if isinstance(value, str):
            yield table, key
        elif isinstance(value, dict | list):
            yield from _texts(value)


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ({"port": 22}, {"port": 22}, True),
        ({"port": 22}, {"port": 22, "address": "127.0.0.1"}, True),
        ({"port": 22, "address": "::"}, {"port": 22, "address": "127.0.0.1"}, True),
        ({"port": 22, "address": "127.0.0.2"}, {"port": 22, "address": "127.0.0.1"}, False),
        ({"port": 22}, {"port": 23}, False),
    ],
)
def test_two_services_cannot_have_one_socket(first: dict[str, Any], second: dict[str, Any], taken: bool) -> None:
    """Goal: a clash is told before anything is written. Method: pairs of listeners."""
    document = {"services": {"a": {"type": "sftp", "listener": first}, "b": {"type": "sftp", "listener": second}}}
    assert list(found_in(document)) == (["services.b.listener.port"] if taken else [])


def test_services_on_different_instances_may_have_one_port() -> None:
    """Goal: scope counts. Method: the same port on nodes and controller, then an override that makes them meet."""
    document = read("""
        services.a = {type = "sftp", run_on = "nodes", listener = {port = 22}}
        services.b = {type = "sftp", run_on = "controller", listener = {port = 22}}
        services.c = {type = "sftp", run_on = ["n9"], listener = {port = 23}}
    """)
    assert found_in(document) == {}
    document["nodes"] = {"n9": {"overrides": {"services": {"c": {"listener": {"port": 22}}}}}}
    assert list(found_in(document)) == ["services.c.listener.port"]


def test_transfers_of_one_leader_group_agree_where_to_run() -> None:
    """Goal: one group, one set of candidates. Method: a second transfer of the group with another run_on."""
    document = good()
    out = document["transfers"]["out"]
    document["transfers"] = {"a": {**out, "leader_group": "g"}, "b": {**out, "leader_group": "g", "run_on": ["n1"]}}
    assert list(found_in(document)) == ["transfers.b.run_on"]


def test_problems_within_and_between_components_come_together() -> None:
    """Goal: five mistakes, five problems. Method: mistakes of both kinds; a broken location is not called missing."""
    document = good()
    document["locations"]["partner"]["port"] = "x"
    document["locations"]["unknown_field"] = {"type": "local", "rot": "/"}
    document["transfers"]["out"]["source_location"] = "nowhere"
    document["accounts"]["alice"]["home_folder_path"] = "home"
    document["services"]["main"]["listener"] = {}
    assert set(found_in(document)) == {
        "locations.partner.port",
        "locations.unknown_field.rot",
        "transfers.out.source_location",
        "accounts.alice.home_folder_path",
        "services.main.listener.port",
    }


def test_an_account_nobody_can_log_in_to_is_a_warning() -> None:
    """Goal: it may be meant. Method: an enabled account with neither password nor key."""
    _, (problems, warnings) = judge({"accounts": {"x": {"home_folder_path": "/srv/x"}}})
    assert not problems
    assert [warning.path for warning in warnings] == ["accounts.x"]
