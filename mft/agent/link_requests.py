"""What controllers ask of this instance over the link, and its answers: steering the transfers that it leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from mft.agent.outbound_pool import UnderWay
from mft.errors import Invalid
from mft.model.delivery import Record
from mft.pb.link.v1 import link_pb2 as pb

OPEN_TOLD_MAX = 100
"""Open deliveries that are named in an answer; the others are only counted."""


class Steerable(Protocol):
    """The leader of a group, as far as operators steer it."""

    async def run_now(self, transfer: str, reason: str) -> None:
        """Make a pass now; return once that is noted."""
        ...

    def cancel(self, transfer: str, by: str) -> None:
        """End the pass under way."""
        ...

    async def resend(self, transfer: str, delivery: str, by: str) -> None:
        """Send a held delivery again."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Say of each transfer of the group what it does."""
        ...

    def records(self, transfer: str) -> Mapping[str, Record]:
        """Give the open deliveries."""
        ...


class LinkRequests:
    """Answers requests. `leaders` gives what this instance leads now, `leader` the one of a transfer or raises."""

    def __init__(self, leaders: Callable[[], tuple[Steerable, ...]], leader: Callable[[str], Steerable]) -> None:
        self._leaders = leaders
        self._leader = leader

    async def answer(self, request: pb.Request) -> pb.Answer:
        """Do what is asked.

        Raises:
            Conflict: this instance does not lead the transfer, or it is in a state in which that cannot be done.
            NotFound: there is no such delivery.
            Invalid: a newer controller asks for something unknown here.
        """
        match request.WhichOneof("what"):
            case "read_transfers":
                return pb.Answer(transfers=self._states(request.read_transfers.transfer))
            case "run_transfer":
                run = request.run_transfer
                await self._leader(run.transfer).run_now(run.transfer, run.reason)
            case "cancel_transfer":
                cancel = request.cancel_transfer
                self._leader(cancel.transfer).cancel(cancel.transfer, cancel.by)
            case "resend_delivery":
                resend = request.resend_delivery
                await self._leader(resend.transfer).resend(resend.transfer, resend.delivery, resend.by)
            case _:
                raise Invalid("this instance runs an older program and does not know what is asked for")
        return pb.Answer()

    def _states(self, wanted: str) -> list[pb.TransferState]:
        found = []
        for leader in self._leaders():
            for transfer, status in leader.status().items():
                if wanted in {"", transfer}:
                    found.append(self._state(leader, transfer, status))
        return found

    def _state(self, leader: Steerable, transfer: str, status: Any) -> pb.TransferState:
        records = leader.records(transfer)
        # Those that wait for an operator first: they are what an operator looks for.
        order = sorted(records.items(), key=lambda item: (item[1].state not in {"uncertain", "quarantined"}, item[0]))
        return pb.TransferState(
            transfer=transfer,
            status=msgspec.json.encode(status),
            open=[_open(delivery, record) for delivery, record in order[:OPEN_TOLD_MAX]],
            open_total=len(records),
        )


def told(runs: Iterable[UnderWay]) -> pb.Progress:
    """Write how far these runs are."""
    return pb.Progress(runs=map(_run, runs))


def _run(one: UnderWay) -> pb.RunProgress:
    newest = one.progress
    found = pb.RunProgress(transfer=one.order.transfer, run=one.order.run, began_at=one.began)
    if newest is not None:
        found.files_delivered, found.files_failed = newest.delivered, newest.failed
        found.bytes_done = newest.bytes_done
        for file in newest.files:
            found.files.add(
                delivery=file.delivery, name=_text(file.name), bytes_done=file.bytes_done, size_bytes=file.size_bytes
            )
    return found


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _open(delivery: str, record: Record) -> pb.OpenDelivery:
    return pb.OpenDelivery(
        delivery=delivery,
        state=record.state,
        name=_text(record.name),
        size_bytes=record.size_bytes,
        sha256=record.sha256,
        node=record.node,
        reason=record.reason,
    )
