"""Our own messages must not clash with anybody else's."""

from __future__ import annotations

from mft.etcd import wire
from mft.etcd.wire import Method
from mft.pb.etcd import v3_pb2 as pb


def test_messages_are_in_a_package_of_their_own() -> None:
    """Goal: another etcd client may live in the process. Method: no name of ours is in etcd's packages."""
    assert pb.DESCRIPTOR.package == "mft.etcd.v3"
    methods = [method for method in vars(wire).values() if isinstance(method, Method)]
    assert len(methods) == 14
    assert all(method.path.startswith("/etcdserverpb.") for method in methods)
    assert all(method.request.DESCRIPTOR.full_name.startswith("mft.etcd.v3.") for method in methods)
