"""The admin service on the wire: who is let in, what errors look like, what tools find."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mft.controller.rpc import Listen, serve
from mft.controller.rpc_status import DETAIL_BYTES, DETAIL_KEY, DETAIL_MAX_KEY
from mft.errors import Invalid
from mft.pb.admin.v1 import admin_pb2 as pb
from mft.pb.admin.v1 import admin_pb2_grpc as pb_grpc
from tests.integration.admin.conftest import Controller
from tests.unit.model.samples import GOOD


@pytest.mark.parametrize(
    "metadata",
    [(), (("authorization", "Bearer wrong"),), (("authorization", "TOKEN"),), (("authorization", "Basic TOKEN"),)],
)
async def test_without_the_token_nobody_is_let_in(
    controller: Controller, metadata: tuple[tuple[str, str], ...]
) -> None:
    """Goal: fail closed. Method: each call with no, a wrong and a wrongly written token."""
    shown = tuple((key, value.replace("TOKEN", controller.home.token)) for key, value in metadata)
    async with grpc.aio.insecure_channel(controller.address) as channel:
        config, cluster = pb_grpc.ConfigServiceStub(channel), pb_grpc.ClusterServiceStub(channel)
        for call, request in [
            (config.Apply, pb.ApplyRequest(document=GOOD.encode())),
            (config.Show, pb.ShowRequest()),
            (config.History, pb.HistoryRequest()),
            (cluster.ListNodes, pb.ListNodesRequest()),
            (cluster.ForgetNode, pb.ForgetNodeRequest(name="x")),
            (cluster.GetStatus, pb.GetStatusRequest()),
        ]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request, metadata=shown)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert controller.home.token not in str(caught.value)


async def test_health_and_reflection_are_open(controller: Controller) -> None:
    """Goal: load balancers and tools need no token. Method: ask both."""
    async with grpc.aio.insecure_channel(controller.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "mft.admin.v1.ConfigService", "mft.admin.v1.ClusterService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {service.name async for answer in call for service in answer.list_services_response.service}
        assert {"mft.admin.v1.ConfigService", "mft.admin.v1.ClusterService", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("asked", [0, 1024 * 1024])
async def test_problems_travel_in_the_detail(controller: Controller, asked: int) -> None:
    """Goal: typed, and never more than the client takes. Method: 200 mistakes, with a plain and with our own client."""
    document = "\n".join(f"[accounts.user{n}]" for n in range(200)).encode()
    metadata = [("authorization", f"Bearer {controller.home.token}")]
    if asked:
        metadata.append((DETAIL_MAX_KEY, str(asked)))
    options = [("grpc.max_metadata_size", asked), ("grpc.absolute_max_metadata_size", asked)] if asked else []
    async with grpc.aio.insecure_channel(controller.address, options=options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.ConfigServiceStub(channel).Apply(pb.ApplyRequest(document=document), metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (raw,) = (value for key, value in caught.value.trailing_metadata() or () if key == DETAIL_KEY)
    detail = pb.ErrorDetail.FromString(raw)
    assert detail.code == "MFT-CONFIG-1002"
    assert len(detail.problems) + detail.problems_omitted == 200
    assert detail.problems[0].path == "accounts.user0.home_folder_path"
    if asked:
        assert detail.problems_omitted == 0
    else:
        assert len(raw) <= DETAIL_BYTES


async def test_beyond_this_machine_only_with_tls(controller: Controller, tmp_path: Path) -> None:
    """Goal: no token in clear on a network by accident. Method: addresses and options that are refused."""
    operations, token = controller.management.operations, controller.home.token
    for listen in (
        Listen(address="0.0.0.0", port=0),
        Listen(address="::", port=0),
        Listen(address="host.example.net", port=0),
        Listen(port=0, certificate=tmp_path / "none.pem"),
        Listen(port=0, certificate=tmp_path / "none.pem", key=tmp_path / "none.key"),
    ):
        with pytest.raises(Invalid):
            await serve(operations, token, listen)
