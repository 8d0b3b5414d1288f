"""Rules for locations: each mistake has a place and says what to do, for `sftp` and `scp` alike."""

from __future__ import annotations

from typing import Any

import pytest

from mft.model.check import judge
from tests.unit.model.samples import good

SOCKS = {"kind": "socks5", "address": "proxy.example", "port": 1080}


def judged(kind: str, **changes: Any) -> list[str]:
    """Change the sample's partner and give what is found, as `place: message`."""
    document = good()
    document["locations"]["partner"] |= {"type": kind, **changes}
    _, findings = judge(document)
    return [f"{found.path}: {found.message}" for found in (*findings.problems, *findings.warnings)]


@pytest.mark.parametrize("kind", ["sftp", "scp"])
@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"address": " "}, "address", "expected a host name"),
        ({"address": "sftp://partner.example"}, "address", "alone"),
        ({"address": "[2001:db8::1]"}, "address", "without brackets"),
        ({"host_keys": []}, "host_keys", "at least one"),
        ({"private_key": "no key"}, "private_key", "BEGIN"),
        ({"proxy": SOCKS | {"address": ""}}, "proxy.address", "expected a host name"),
        ({"proxy": SOCKS | {"address": "http://proxy.example"}}, "proxy.address", "alone"),
        ({"proxy": SOCKS | {"password": "p"}}, "proxy.username", "a password needs a username"),
        ({"proxy": SOCKS | {"username": "u"}}, "proxy.password", "needs a password"),
        ({"proxy": SOCKS | {"username": "u" * 256, "password": "p"}}, "proxy.username", "at most 255 bytes"),
        ({"proxy": SOCKS | {"kind": "http", "username": "u:v", "password": "p"}}, "proxy.username", "colon"),
    ],
    ids=range(11),
)
def test_mistakes(kind: str, changes: dict[str, Any], place: str, message: str) -> None:
    """Goal: what cannot work is refused at apply. Method: one mistake at a time in a good document."""
    found = judged(kind, **changes)
    assert len(found) == 1, found
    assert found[0].startswith(f"locations.partner.{place}: ")
    assert message in found[0]


@pytest.mark.parametrize("kind", ["sftp", "scp"])
def test_what_is_right_is_not_called_wrong(kind: str) -> None:
    """Goal: no false alarm. Method: proxies with and without a login, a sealed password, an IPv6 address."""
    login = {"username": "u", "password": "sealed:v1:" + "x" * 400}
    for changes in (
        {},
        {"address": "2001:db8::1"},
        {"address": "partner-{node.label.site}.example"},
        {"proxy": SOCKS},
        {"proxy": SOCKS | login},
        {"proxy": SOCKS | login | {"kind": "http"}},
        {"proxy": SOCKS | {"kind": "http", "username": "token"}},
    ):
        assert judged(kind, **changes) == []


@pytest.mark.parametrize("kind", ["sftp", "scp"])
def test_no_way_to_log_in(kind: str) -> None:
    """Goal: a location nobody lets in is noticed before the first run. Method: neither password nor key."""
    document = good()
    partner = document["locations"]["partner"]
    partner["type"] = kind
    for field in ("password", "private_key"):
        partner.pop(field, None)
    assert [found.path for found in judge(document)[1].warnings] == ["locations.partner"]
