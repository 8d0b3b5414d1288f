"""The admin service on the wire: who is let in, what errors look like, what tools find."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mft.cli.admin_client import Server, connect
from mft.controller.rpc import Listen, serve
from mft.controller.rpc_status import DETAIL_BYTES, DETAIL_KEY, DETAIL_MAX_KEY
from mft.errors import Invalid, Unavailable
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


async def test_a_taken_port_is_told(controller: Controller) -> None:
    """Goal: two controllers never share a port by half. Method: serve where the first one listens."""
    port = int(controller.address.rpartition(":")[2])
    with pytest.raises(Unavailable, match=str(port)):
        await serve(controller.management.operations, controller.home.token, Listen(port=port))


async def test_with_tls_the_command_checks_who_answers(controller: Controller, tmp_path: Path) -> None:
    """Goal: TLS both ways of the option. Method: the command with the right CA, then with a stranger's."""
    own, other = certificate(tmp_path, "own"), certificate(tmp_path, "other")
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    listen = Listen(address="0.0.0.0", port=0, certificate=own.with_suffix(".pem"), key=own.with_suffix(".key"))
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(
            serve(controller.management.operations, controller.home.token, listen, port.set_result), name="tls"
        )
        address = f"127.0.0.1:{await port}"
        good, bad = (
            Server(address, controller.home.token, (ca.with_suffix(".pem")).read_bytes()) for ca in (own, other)
        )
        answer = await asyncio.to_thread(status_of, good)
        assert answer.cluster == controller.home.pinned.cluster
        with pytest.raises(Unavailable):
            await asyncio.to_thread(status_of, bad)
        serving.cancel()


def status_of(server: Server) -> pb.GetStatusResponse:
    """Ask as `mft-admin` does."""
    with connect(server) as client:
        answer: pb.GetStatusResponse = client.call(client.cluster.GetStatus, pb.GetStatusRequest())
        return answer


def certificate(folder: Path, name: str) -> Path:
    """Make a certificate for 127.0.0.1 that is its own CA; return the path of its `.pem` and `.key`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / name
    path.with_suffix(".pem").write_bytes(made.public_bytes(Encoding.PEM))
    path.with_suffix(".key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


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
