"""The client's pure parts: keys and ranges, conditions, endpoints, versions, and the high-water mark."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mft.errors import Invalid
from mft.etcd.channel import parse_endpoint
from mft.etcd.client import EtcdClient
from mft.etcd.endpoints import Credentials
from mft.etcd.high_water import HighWater, Standing
from mft.etcd.keeper import LeaseState, margin_s
from mft.etcd.ops import Put, create_revision, value
from mft.etcd.records import Header, decode_key, encode_key, prefix_range
from mft.etcd.servers import Fitness, judge_version
from mft.pb.etcd import v3_pb2 as pb


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_prefix_range_holds_exactly_the_keys_with_the_prefix(prefix: bytes, key: bytes) -> None:
    """Goal: a prefix's range is right for every byte. Method: compare with the definition; an end of 0 is open."""
    start, end = prefix_range(decode_key(prefix))
    inside = bool(key) and key >= start and (end == b"\0" or key < end)
    assert inside == (bool(key) and key.startswith(prefix))


@given(st.binary())
def test_any_key_survives(key: bytes) -> None:
    """Goal: keys that are no UTF-8 are not harmed. Method: there and back."""
    assert encode_key(decode_key(key)) == key


def test_conditions_carry_what_they_read() -> None:
    """Goal: `==`, `!=`, `<`, `>` are etcd's comparisons. Method: look at the message; wrong types are refused."""
    assert (create_revision("k") == 7).message == pb.Compare(
        key=b"k", target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=7
    )
    assert (value("k") != b"v").message.result == pb.Compare.NOT_EQUAL
    with pytest.raises(TypeError):
        _ = create_revision("k") == "7"
    with pytest.raises(TypeError):
        _ = value("k") == 7
    assert Put("k", b"v", 5).message().request_put.lease == 5


@pytest.mark.parametrize(
    ("text", "tls", "target"),
    [
        ("127.0.0.1:2379", False, "127.0.0.1:2379"),
        ("http://etcd-1.example:2379/", False, "etcd-1.example:2379"),
        ("https://[::1]:2379", True, "[::1]:2379"),
        ("etcd:2379", True, "etcd:2379"),
    ],
)
def test_endpoints_are_read_as_etcds_tools_take_them(text: str, tls: bool, target: str) -> None:
    """Goal: what users know works. Method: a table."""
    assert parse_endpoint(text, tls=tls) == target


@pytest.mark.parametrize(
    ("text", "tls"),
    [
        *((text, False) for text in ("etcd", "etcd:0", ":2379", "etcd:x", "", "unix:///x:1", "etcd:65536")),
        ("https://etcd:2379", False),
        ("http://etcd:2379", True),
    ],
)
def test_bad_endpoints_are_named(text: str, tls: bool) -> None:
    """Goal: a wrong endpoint is an error that quotes it. Method: a table."""
    with pytest.raises(Invalid, match="etcd endpoint") as caught:
        parse_endpoint(text, tls=tls)
    assert repr(text) in str(caught.value)


def test_a_client_needs_endpoints_and_whole_credentials() -> None:
    """Goal: mistakes in wiring are clear, and no password is shown. Method: make them."""
    with pytest.raises(Invalid, match="no etcd endpoint"):
        EtcdClient([])
    with pytest.raises(Invalid, match="go together"):
        EtcdClient(["etcd:2379"], user="node")
    assert "secret" not in repr(Credentials("node", "secret"))


@pytest.mark.parametrize(
    ("version", "fitness"),
    [
        ("3.4.23", Fitness.OLD),
        ("3.5.0", Fitness.REFUSED),
        ("3.5.2", Fitness.REFUSED),
        ("3.5.3", Fitness.OLD),
        ("3.5.27", Fitness.OLD),
        ("3.5.28", Fitness.FIT),
        ("3.6.0", Fitness.FIT),
        ("3.7.0-rc.1", Fitness.FIT),
        ("4.0.0", Fitness.FIT),
        ("", Fitness.OLD),
    ],
)
def test_versions_are_judged(version: str, fitness: Fitness) -> None:
    """Goal: servers that lose data are refused, old ones are warned about. Method: a table at the borders."""
    verdict = judge_version(version)
    assert verdict.fitness is fitness
    assert bool(verdict.why) == (fitness is not Fitness.FIT)


def test_high_water_tells_stale_from_fine() -> None:
    """Goal: an answer from the past is seen as such. Method: lower in revision, in term, another cluster."""
    water = HighWater(floor_revision=10)
    assert water.judge(Header(1, 1, 9, 1)) is Standing.BEHIND
    water.note(Header(1, 1, 12, 3))
    assert water.judge(Header(1, 2, 12, 3)) is Standing.FINE
    assert water.judge(Header(1, 2, 11, 3)) is Standing.BEHIND
    assert water.judge(Header(1, 2, 13, 2)) is Standing.STALE
    assert water.judge(Header(2, 2, 13, 3)) is Standing.OTHER
    water.restart()
    assert water.judge(Header(2, 2, 1, 1)) is Standing.FINE


def test_lease_is_not_held_at_its_deadline() -> None:
    """Goal: the last moment belongs to the others. Method: the border; margins of short and long leases."""
    state = LeaseState(7, 10.0, 100.0, "")
    assert state.held(99.9)
    assert not state.held(100.0)
    assert not LeaseState(0, 0.0, 100.0, "none").held(0.0)
    assert (margin_s(2), margin_s(5), margin_s(10), margin_s(60)) == (0.5, 1.25, 2.0, 2.0)
