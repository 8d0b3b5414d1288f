"""What operators are told of a transfer whose files wait."""

from __future__ import annotations

from tests.integration.dispatcher.conftest import Field, Pass, Ran
from tests.rig.waiting import eventually


async def test_what_a_batch_waits_for_is_its_remark(field: Field) -> None:
    """Goal: who looks at an idle transfer sees why its files stay. Method: a pass that leaves some, one that sends."""
    field.set(t={})
    outcomes = [Ran(awaits="2 files have waited", wait_s=0.1), Ran(delivered=3)]

    async def next_of(_: Pass) -> Ran:
        return outcomes[field.made() - 1]

    field.work = next_of
    async with field.node("n1") as node:
        await node.leads()
        await eventually(lambda: node.status().reason == "2 files have waited")
        assert node.status().state == "idle"
        await eventually(lambda: field.made() == 2 and node.status().reason == "")
