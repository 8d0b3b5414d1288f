"""Transfers and deliveries as gRPC services."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from mft.controller.deliveries_rows import Question
from mft.controller.rpc_status import Answering
from mft.controller.transfers import Rate, Steered, Transfer, Transfers
from mft.model.transfers import leader_group_of
from mft.pb.admin.v1 import admin_pb2 as pb
from mft.pb.admin.v1 import admin_pb2_grpc as pb_grpc

_DELIVERIES_DEFAULT = 100
_BY = "admin"
"""Who asks, as long as there is one token for all."""


class TransferService(pb_grpc.TransferServiceServicer):
    """Transfers: what they do, and steering them."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    async def ListTransfers(  # noqa: N802
        self, request: pb.ListTransfersRequest, context: Any
    ) -> pb.ListTransfersResponse:
        """List transfers."""
        async with Answering(context):
            found = await self._transfers.list(request.transfer)
        return pb.ListTransfersResponse(transfers=[_transfer(one, whole=bool(request.transfer)) for one in found])

    async def RunTransfer(self, request: pb.RunTransferRequest, context: Any) -> pb.SteerResponse:  # noqa: N802
        """Make a pass now."""
        async with Answering(context):
            steered = await self._transfers.run(request.transfer, request.by or _BY)
        return _steered(steered)

    async def PauseTransfer(self, request: pb.PauseTransferRequest, context: Any) -> pb.SteerResponse:  # noqa: N802
        """Begin no new pass until resumed."""
        async with Answering(context):
            steered = await self._transfers.pause(request.transfer, request.by or _BY, request.reason)
        return _steered(steered)

    async def ResumeTransfer(self, request: pb.ResumeTransferRequest, context: Any) -> pb.SteerResponse:  # noqa: N802
        """Go on."""
        async with Answering(context):
            steered = await self._transfers.resume(request.transfer, request.by or _BY)
        return _steered(steered)

    async def CancelTransfer(self, request: pb.CancelTransferRequest, context: Any) -> pb.SteerResponse:  # noqa: N802
        """End the pass under way."""
        async with Answering(context):
            steered = await self._transfers.cancel(request.transfer, request.by or _BY)
        return _steered(steered)

    async def ResendDelivery(self, request: pb.ResendDeliveryRequest, context: Any) -> pb.SteerResponse:  # noqa: N802
        """Send a held delivery again."""
        async with Answering(context):
            steered = await self._transfers.resend(request.transfer, request.delivery, request.by or _BY)
        return _steered(steered)

    async def WatchTransfers(  # noqa: N802
        self, request: pb.WatchTransfersRequest, context: Any
    ) -> AsyncIterator[pb.TransfersProgress]:
        """Tell of all runs under way, whenever they changed."""
        async with Answering(context), aclosing(self._transfers.watch(request.transfer)) as turns:
            async for turn in turns:
                yield pb.TransfersProgress(at=time.time(), runs=map(_run, turn))


class DeliveryService(pb_grpc.DeliveryServiceServicer):
    """The deliveries that the controller knows of."""

    def __init__(self, transfers: Transfers) -> None:
        self._store = transfers.deliveries

    async def ListDeliveries(  # noqa: N802
        self, request: pb.ListDeliveriesRequest, context: Any
    ) -> pb.ListDeliveriesResponse:
        """List deliveries, newest first."""
        async with Answering(context):
            page = await self._store.find(
                Question(
                    path=request.path,
                    transfer=request.transfer,
                    since=request.since,
                    until=request.until,
                    outcome=request.outcome,
                    limit=request.limit or _DELIVERIES_DEFAULT,
                    after=request.after,
                )
            )
        found = [pb.Delivery(**one._asdict()) for one in page.deliveries]
        return pb.ListDeliveriesResponse(deliveries=found, next=page.following)


def _steered(steered: Steered) -> pb.SteerResponse:
    return pb.SteerResponse(note=steered.note, instance=steered.instance)


def _transfer(one: Transfer, *, whole: bool) -> pb.Transfer:
    spec, told, pause = one.spec, one.told, one.pause
    states = Counter(delivery.state for delivery in one.open)
    if rest := one.open_total - len(one.open):
        states["others"] = rest
    return pb.Transfer(
        id=one.id,
        name=spec.name,
        enabled=spec.enabled,
        leader_group=leader_group_of(one.id, spec),
        leader=one.leader,
        state=one.state,
        reason=one.reason,
        source=f"{spec.source_location}:{spec.source_path}",
        destination=f"{spec.destination_location}:{spec.destination_path}",
        next_run_at=told.next_pass_at or 0.0,
        last_run_at=told.last_pass_at or 0.0,
        paused_by=pause.by if pause else "",
        paused_at=pause.at if pause else 0.0,
        open=states,
        deliveries=[_open(delivery) for delivery in one.open] if whole else [],
        troubles=[pb.Trouble(**trouble._asdict()) for trouble in one.troubles],
        delivered=told.delivered,
        failures=told.failures,
    )


def _open(delivery: Any) -> pb.OpenDelivery:
    return pb.OpenDelivery(
        delivery=delivery.delivery,
        state=delivery.state,
        name=delivery.name,
        size_bytes=delivery.size_bytes,
        sha256=delivery.sha256,
        node=delivery.node,
        reason=delivery.reason,
    )


def _run(one: Rate) -> pb.RunProgress:
    run = one.run
    return pb.RunProgress(
        transfer=run.transfer,
        instance=one.instance,
        run=run.run,
        began_at=run.began_at,
        files_delivered=run.files_delivered,
        files_failed=run.files_failed,
        bytes_done=run.bytes_done,
        rate_bytes_s=one.bytes_s,
        files=[
            pb.FileProgress(
                delivery=file.delivery, name=file.name, bytes_done=file.bytes_done, size_bytes=file.size_bytes
            )
            for file in run.files
        ],
    )
