"""What is missing where nobody put it proves nothing: folders that were changed, or are not mounted."""

from __future__ import annotations

import msgspec
import pytest

from mft.errors import LeadershipLost
from mft.events import catalogue
from tests.integration.transfers.conftest import Bench
from tests.integration.transfers.files import reasons, told


async def _stop_at_intent(bench: Bench) -> str:
    """Have a leader die right after the intent of `a`; return the delivery."""
    bench.give("a")
    bench.journal.after = lambda _, state: LeadershipLost("killed") if state == "intent" else None
    with pytest.raises(LeadershipLost):
        await bench.run()
    bench.journal.after = lambda _delivery, _state: None
    (delivery,) = bench.journal.records
    return delivery


@pytest.mark.parametrize("changed", ["source_path", "destination_path"])
async def test_a_folder_is_changed_while_a_delivery_is_open(bench: Bench, changed: str) -> None:
    """Goal: nothing counts as published because it is not in a new folder. Method: die at `intent`, change, go back.

    The upload still stands in the old folder, under its temp name; nobody has published it.
    """
    delivery = await _stop_at_intent(bench)
    new = bench.source / "new" if changed == "source_path" else bench.inbox.parent / "new"
    (new / ".mft").mkdir(parents=True)
    before = bench.spec
    bench.spec = msgspec.structs.replace(bench.spec, **{changed: "new" if changed == "source_path" else str(new)})
    await bench.run(8)
    assert bench.left() == [f".mft/{delivery}/a"]
    assert bench.journal.records[delivery].state == "uncertain"
    assert told(bench, catalogue.DELIVERY_UNCERTAIN) == 1
    assert told(bench, catalogue.FILE_DELIVERED) == 0
    bench.spec = before
    del bench.journal.records[delivery]  # As by `resend`.
    await bench.run(9, sweep=True)
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


async def test_storage_is_not_mounted(bench: Bench) -> None:
    """Goal: an empty mount point does not say that sources were removed. Method: die at `intent`; move all away."""
    delivery = await _stop_at_intent(bench)
    (bench.out / ".mft").rename(bench.source / "stored")
    await bench.run(8)
    assert bench.journal.records[delivery].state == "intent"
    assert ".mft" in reasons(bench)[0]
    (bench.source / "stored").rename(bench.out / ".mft")
    await bench.run(9, sweep=True)
    assert bench.arrived() == {"a": b"content"}
    bench.check_settled()


async def test_quarantine_outlasts_an_unmounted_folder(bench: Bench) -> None:
    """Goal: what was put aside is not tried again because it was out of sight. Method: look while it is away."""
    delivery = bench.taken("a")
    bench.intend(delivery, "a")
    bench.journal.records[delivery] = msgspec.structs.replace(bench.journal.records[delivery], state="quarantined")
    (bench.out / ".mft").rename(bench.source / "stored")
    await bench.run()
    (bench.source / "stored").rename(bench.out / ".mft")
    await bench.run()
    assert bench.left() == [f".mft/{delivery}/a"]
    assert bench.journal.records[delivery].state == "quarantined"
