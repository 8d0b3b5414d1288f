"""A pass that is to take nothing new: at the end of a window, or when an operator pauses."""

from __future__ import annotations

import msgspec

from tests.integration.transfers.conftest import Bench


async def test_what_is_begun_is_finished(bench: Bench) -> None:
    """Goal: nothing new is taken, what was taken arrives. Method: a taken file, an intent and a new one; then go on."""
    taken, intended = bench.taken("a"), bench.taken("b")
    bench.intend(intended, "b", bench.temp(intended))
    bench.give("c")
    bench.permit.takes_new = False
    await bench.run()
    assert set(bench.arrived()) == {"a", "b"}
    assert bench.left() == ["c"]
    assert taken not in bench.journal.records
    bench.permit.takes_new = True
    await bench.run()
    assert set(bench.arrived()) == {"a", "b", "c"}
    bench.check_settled()


async def test_kept_sources(bench: Bench) -> None:
    """Goal: the same where sources stay. Method: a source that the ledger does not know."""
    bench.spec = msgspec.structs.replace(bench.spec, delete_source=False)
    bench.give("a")
    bench.permit.takes_new = False
    await bench.run()
    assert bench.arrived() == {}
    bench.permit.takes_new = True
    await bench.run()
    assert set(bench.arrived()) == {"a"}
