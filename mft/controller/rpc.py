"""The controller's operations as gRPC services, with the standard health and reflection beside them."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import msgspec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mft.cluster import files
from mft.cluster.manifest import Manifest
from mft.controller.fleet import NodeState
from mft.controller.operations import Applied, Operations
from mft.controller.restoring import Restore
from mft.controller.rpc_access import TokenInterceptor
from mft.controller.rpc_status import DETAIL_BYTES_MAX, Answering
from mft.controller.rpc_transfers import DeliveryService, TransferService
from mft.controller.transfers import Transfers
from mft.errors import Invalid, Problem, Unavailable
from mft.model.document import DOCUMENT_BYTES_MAX
from mft.pb.admin.v1 import admin_pb2 as pb
from mft.pb.admin.v1 import admin_pb2_grpc as pb_grpc

ADMIN_PORT: Final = 7443
STOP_S: Final = 2.0
"""How long calls may finish when the server ends."""
_HISTORY_LIMIT: Final = 20
_SERVICES: Final = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", DOCUMENT_BYTES_MAX + 4096),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 2 * DETAIL_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", 2 * DETAIL_BYTES_MAX),
    # Two controllers on one port would each get half of the calls.
    ("grpc.so_reuseport", 0),
)


class Listen(NamedTuple):
    """Where administrators connect. Beyond this machine only with TLS, or where `insecure` says that it is meant."""

    address: str = "127.0.0.1"
    port: int = ADMIN_PORT
    """0: any free one; `ready` is told which."""
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False


async def serve(
    operations: Operations,
    token: str,
    listen: Listen,
    ready: Callable[[int], None] = lambda port: None,
    transfers: Transfers | None = None,
) -> None:
    """Answer administrators until cancelled; call `ready` with the port once it is open.

    Raises `Invalid` if the address must not or cannot be used, before anything is answered.
    """
    server = grpc.aio.server(interceptors=(TokenInterceptor(token),), options=_OPTIONS)
    pb_grpc.add_ConfigServiceServicer_to_server(ConfigService(operations), server)
    pb_grpc.add_ClusterServiceServicer_to_server(ClusterService(operations), server)
    if transfers is not None:
        pb_grpc.add_TransferServiceServicer_to_server(TransferService(transfers), server)
        pb_grpc.add_DeliveryServiceServicer_to_server(DeliveryService(transfers), server)
    state = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = await _open(server, listen)
    await server.start()
    try:
        for name in ("", *_SERVICES):
            await state.set(name, health_pb2.HealthCheckResponse.SERVING)
        ready(port)
        await server.wait_for_termination()
    finally:
        await server.stop(STOP_S)


class ConfigService(pb_grpc.ConfigServiceServicer):
    """Versions of the config."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def Apply(self, request: pb.ApplyRequest, context: Any) -> pb.ApplyResponse:  # noqa: N802
        """Make a document the newest version."""
        async with Answering(context):
            applied = await self._operations.apply(
                request.document,
                base=request.base_version if request.HasField("base_version") else None,
                author=request.author or "unknown",
                comment=request.comment,
                dry_run=request.dry_run,
            )
        return _applied(applied)

    async def Show(self, request: pb.ShowRequest, context: Any) -> pb.ShowResponse:  # noqa: N802
        """Return one version."""
        async with Answering(context):
            number = request.version if request.HasField("version") else None
            shown = await self._operations.show(number, sealed=request.sealed)
        document = await asyncio.to_thread(msgspec.json.encode, shown.document)
        return pb.ShowResponse(version=_version(shown.manifest), document=document)

    async def History(  # noqa: N802
        self, request: pb.HistoryRequest, context: Any
    ) -> pb.HistoryResponse:
        """List versions."""
        async with Answering(context):
            versions = await self._operations.history(request.limit or _HISTORY_LIMIT)
        return pb.HistoryResponse(versions=map(_version, versions))


class ClusterService(pb_grpc.ClusterServiceServicer):
    """Instances and what they run."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def ListNodes(  # noqa: N802
        self, request: pb.ListNodesRequest, context: Any
    ) -> pb.ListNodesResponse:
        """List all instances."""
        async with Answering(context):
            nodes = await self._operations.nodes()
        return pb.ListNodesResponse(nodes=map(_node, nodes))

    async def ForgetNode(  # noqa: N802
        self, request: pb.ForgetNodeRequest, context: Any
    ) -> pb.ForgetNodeResponse:
        """Let another machine join under a name."""
        async with Answering(context):
            await self._operations.forget_node(request.name)
        return pb.ForgetNodeResponse()

    async def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, context: Any
    ) -> pb.GetStatusResponse:
        """Describe the cluster in one look."""
        async with Answering(context):
            status = await self._operations.status()
        return pb.GetStatusResponse(**msgspec.structs.asdict(status))

    async def GetRestore(  # noqa: N802
        self, request: pb.GetRestoreRequest, context: Any
    ) -> pb.GetRestoreResponse:
        """Say how far a restore of etcd is."""
        async with Answering(context):
            restore = await self._operations.restore()
        return _restore(restore)

    async def AcceptRestore(  # noqa: N802
        self, request: pb.AcceptRestoreRequest, context: Any
    ) -> pb.GetRestoreResponse:
        """Go on without the records of some nodes."""
        async with Answering(context):
            restore = await self._operations.leave_out(request.without, request.by or "unknown")
        return _restore(restore)


async def _open(server: Any, listen: Listen) -> int:
    where = f"[{listen.address}]:{listen.port}" if ":" in listen.address else f"{listen.address}:{listen.port}"
    credentials = await asyncio.to_thread(_credentials, listen)
    if credentials is None and not listen.insecure and not _is_loopback(listen.address):
        raise Invalid(f"administrators' calls to {where} would travel in clear: give a certificate and its key")
    try:
        if credentials is not None:
            port: int = server.add_secure_port(where, credentials)
        else:
            port = server.add_insecure_port(where)
    except RuntimeError as error:
        raise Unavailable(f"cannot listen on {where} for administrators: the port is taken or not ours") from error
    return port


def _credentials(listen: Listen) -> Any:
    if listen.certificate is None and listen.key is None:
        return None
    if listen.certificate is None or listen.key is None:
        raise Invalid("a certificate and its key go together")
    parts = {path: files.read(path) for path in (listen.key, listen.certificate)}
    for path, content in parts.items():
        if not content:
            raise Invalid(f"{path} is missing or empty")
    return grpc.ssl_server_credentials([(parts[listen.key], parts[listen.certificate])])


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _applied(applied: Applied) -> pb.ApplyResponse:
    return pb.ApplyResponse(
        version=applied.version,
        published=applied.published,
        change=pb.Change(**msgspec.structs.asdict(applied.change)),
        warnings=_problems(applied.warnings),
    )


def _problems(problems: Iterable[Problem]) -> list[pb.Problem]:
    return [pb.Problem(path=problem.path, message=problem.message) for problem in problems]


def _version(manifest: Manifest) -> pb.Version:
    return pb.Version(
        version=manifest.version,
        parent=manifest.parent,
        author=manifest.author,
        comment=manifest.comment,
        time=manifest.time,
        incarnation=manifest.incarnation,
        components=manifest.components,
        program_least=manifest.program_least,
        key_id=manifest.key_id,
    )


def _restore(restore: Restore | None) -> pb.GetRestoreResponse:
    if restore is None:
        return pb.GetRestoreResponse()
    return pb.GetRestoreResponse(
        under_way=True,
        why=restore.gate.why,
        began_at=restore.gate.at,
        nodes=[
            pb.RestoreNode(
                name=node.name,
                state=node.standing,
                deliveries=node.deliveries,
                sources=node.sources,
                left_out_by=node.left_out_by,
            )
            for node in restore.nodes
        ],
    )


def _node(node: NodeState) -> pb.Node:
    return pb.Node(**msgspec.structs.asdict(node))
