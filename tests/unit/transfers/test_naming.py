"""What name rules make of a path, and which results are refused."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mft.errors import Invalid
from mft.model.dates import Moment
from mft.model.transfer_parts import NameRule
from mft.transfers.naming import stamp_of, stamped, target_of, unstamped

AT = 1_795_383_378.123  # 2026-11-22 21:36:18.123 UTC
TAKEN = Moment(AT, ZoneInfo("Pacific/Auckland"))
"""There it is 10:36 on the next day."""


def named(path: str, *rules: dict[str, Any]) -> str:
    return target_of([NameRule(**rule) for rule in rules], path, TAKEN)


def template(text: str, match: str = "*") -> dict[str, Any]:
    return {"action": "template", "template": text, "match": match}


@pytest.mark.parametrize(
    ("path", "text", "made"),
    [
        ("a.csv", "{stem}-{now.date}{extension}", "a-20261122.csv"),
        ("a.csv", "{now.hour}/{now.minute}-{now.second}/{name}", "21/36-18/a.csv"),
        ("in/a.tar.gz", "{folder}/{now.year}/{now.month}/{now.day}/{name}", "in/2026/11/22/a.tar.gz"),
        ("a.tar.gz", "{folder}/{stem}|{extension}", "a.tar|.gz"),
        (".profile", "x{name}-{extension}-{stem}", "x.profile--.profile"),
        ("README", "{stem}{extension}.{now.time}.{now.timestamp}", "README.213618.1795383378"),
        ("in/a", "{path}.bak", "in/a.bak"),
        ("a", "{not a placeholder} {{name}}", "{not a placeholder} {a}"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_template(path: str, text: str, made: str) -> None:
    """Goal: each placeholder has its value, other braces are text. Method: one path, one template."""
    assert named(path, template(text)) == made


@pytest.mark.parametrize(
    ("match", "made"),
    [
        ("t/*-{date}.csv/", "today"),
        ("t/*-{date}.csv/-1d", None),
        ("t/*-{date}.csv/-1d..0d", "today"),
        ("t/!*-{date}.csv/", None),
    ],
)
def test_a_date_in_match_is_that_of_taking_in_the_zone_of_the_transfer(match: str, made: str | None) -> None:
    """Goal: a rule means the file of the day on which it was taken. Method: an instant with another date in UTC."""
    rule = {"action": "fixed-path", "template": "today", "match": match}
    assert named("a-20261123.csv", rule) == (made or "a-20261123.csv")


@pytest.mark.parametrize(
    ("rule", "made"),
    [
        ({"action": "only-filename"}, "Report.CSV"),
        ({"action": "replace-separator", "template": "_"}, "In_Deep_Report.CSV"),
        ({"action": "lowercase"}, "in/deep/report.csv"),
        ({"action": "uppercase"}, "IN/DEEP/REPORT.CSV"),
        ({"action": "fixed-path", "template": "latest/{name}"}, "latest/{name}"),
    ],
    ids=lambda value: value["action"] if isinstance(value, dict) else None,
)
def test_the_other_actions(rule: dict[str, str], made: str) -> None:
    """Goal: each does what its name says. Method: one path with folders and capitals."""
    assert named("In/Deep/Report.CSV", rule) == made


def test_rules_follow_each_other() -> None:
    """Goal: each works on what the one before made, and only where it matches. Method: three rules, two match."""
    rules = [
        template("{group.2}/{group.1}.txt", r"m/^([a-z]+)_(\d+)\./"),
        {"action": "uppercase", "match": "*.csv"},
        template("new/{path}", "**/*.txt"),
    ]
    assert named("invoice_0042.csv", *rules) == "new/0042/invoice.txt"
    assert named("other.csv", *rules) == "OTHER.CSV"
    assert named("other.dat", *rules) == "other.dat"


def test_a_group_that_is_not_there() -> None:
    """Goal: the message says what is missing. Method: a second group of an expression that has one."""
    with pytest.raises(Invalid, match=r"\{group\.2\}.*1 group"):
        named("a1", template("{group.2}", "m/([0-9])/"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/etc/{name}", "absolute"),
        ("../{name}", "between its slashes"),
        ("a/../{name}", "between its slashes"),
        ("./{name}", "between its slashes"),
        ("a//{name}", "nothing between two slashes"),
        ("{name}/", "nothing between two slashes"),
        ("{group.1}", "empty"),
        ("{name}\0", "null character"),
        (".mft/{name}", r"begin with \.mft"),
        ("a/.mft-x", r"begin with \.mft"),
        ("{name}" * 60, "more than 255 bytes"),
    ],
    ids=["absolute", "up", "up within", "here", "nothing", "no name", "empty", "null", "ours", "ours within", "long"],
)
def test_what_cannot_be_used(text: str, why: str) -> None:
    """Goal: no rule leads out of the destination folder or into our own names. Method: one bad template each."""
    with pytest.raises(Invalid, match=why):
        named("a.csv.gz", template(text, "m/()/"))


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "a/../../b", "", ".mft/x"])
def test_a_partner_cannot_name_a_way_out(name: str) -> None:
    """Goal: names that a server lists are not trusted either. Method: no rule at all."""
    with pytest.raises(Invalid, match="cannot be used"):
        target_of([], name, TAKEN)


def test_a_time_in_a_name() -> None:
    """Goal: the time stands before the extension, can be read again, and makes no name too long."""
    assert stamped("in/a.csv", AT) == "in/a-20261122T213618.123Z.csv"
    assert stamped("a", AT, "ab12cd") == "a-20261122T213618.123Z-ab12cd"
    for name in ("a", "a.csv", "a.b.c", ".hidden", "ü" * 127 + ".txt", "x" * 255):
        new = stamped(name, AT, "ab12cd")
        assert len(new.encode()) <= 255
        assert stamp_of(new) == int(AT)
    for name in ("a", "in/a.csv", "a.b.c", ".hidden"):
        assert unstamped(stamped(name, AT)) == unstamped(stamped(name, AT, "ab12cd")) == unstamped(name) == name
    assert stamp_of("a-20261122T213618.123Z.csv") is None
    assert stamp_of("a-20269922T213618.123Z-ab12cd.csv") is None
    assert stamp_of("a.csv") is None
