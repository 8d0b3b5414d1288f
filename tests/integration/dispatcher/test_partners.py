"""Passes that fail: how long is waited, whom a broken location holds up, and that it heals."""

from __future__ import annotations

from mft.events import catalogue
from mft.model.delivery import Record
from mft.model.starts import StartSpec
from mft.model.transfer_parts import ArchiveSpec
from mft.transfers.breaker import FAILURES_MAX
from tests.integration.dispatcher.conftest import Field, Pass, Ran
from tests.rig.waiting import eventually


async def test_a_broken_location_holds_up_all_its_transfers(field: Field) -> None:
    """Goal: one transfer tries a broken location for all, and its success frees all. Method: fail until told not to.

    A transfer of another location is not held up.
    """
    field.set(
        t={}, u={}, v={}, w={"start": StartSpec(after=("x",))}, x={"source_location": "a", "destination_location": "c"}
    )
    broken = True

    async def fail_at_b(made: Pass) -> Ran:
        if broken and made.transfer != "x":
            return Ran(error="cannot connect", error_class="transient", location="b")
        return Ran()

    field.work = fail_at_b
    async with field.node("n1") as node:
        await eventually(lambda: field.told(catalogue.PARTNER_PAUSED))
        await eventually(lambda: {node.status(id).state for id in "tuvw"} <= {"broken", "waiting"})
        await eventually(lambda: "broken" in {node.status(id).state for id in "tuvw"})
        assert node.status("x").state == "idle"
        broken = False
        await node.dispatcher.run_now("t")  # Asked for by hand it tries at once.
        await eventually(lambda: {node.status(id).state for id in "tuvw"} == {"idle"})
        assert {node.status(id).failures for id in "tuvw"} == {0}
    (paused,) = field.told(catalogue.PARTNER_PAUSED)
    assert paused["location"] == "b"
    assert len(field.told(catalogue.PARTNER_RESUMED)) == 1
    assert len(field.told(catalogue.PARTNER_FAILED_WILL_RETRY)) == 2


async def test_a_broken_location_is_tried_again_by_one_for_all(field: Field) -> None:
    """Goal: it heals when nobody asks. Method: three passes fail, then all is well; who tries first waits a moment.

    The wait is the real one, two to four seconds.
    """
    field.set(t={}, u={}, v={})
    broken = True
    states: list[list[str]] = []

    async def fail_at_b(_: Pass) -> Ran:
        if broken:
            return Ran(error="cannot connect", error_class="transient", location="b")
        if not states:
            await eventually(lambda: [node.status(id).state for id in "tuv"].count("broken") == 2)
            states.append(sorted(node.status(id).state for id in "tuv"))
        return Ran()

    field.work = fail_at_b
    async with field.node("n1") as node:
        await eventually(lambda: field.told(catalogue.PARTNER_PAUSED))
        broken = False
        await eventually(lambda: {node.status(id).state for id in "tuv"} == {"idle"})
        assert {node.status(id).failures for id in "tuv"} == {0}
    assert states == [["broken", "broken", "running"]]
    assert len(field.told(catalogue.PARTNER_RESUMED)) == 1
    assert field.told(catalogue.RUN_REQUESTED) == []


async def test_a_broken_archive_holds_up_those_that_use_it(field: Field) -> None:
    """Goal: an archive elsewhere is a place like the others. Method: deliver, then fail at it, until told not to.

    That a file was delivered is no news of the archive, which comes after that. At the last failure it looks as if
    somebody had to act, so that nobody tries again within the test: only what frees all lets the other one go on.
    """
    archive = ArchiveSpec(location="c", path="kept")
    field.set(t={"archive": archive}, u={"archive": archive}, v={})
    broken = True

    async def fail_at_c(made: Pass) -> Ran:
        if not broken or made.transfer == "v":
            return Ran()
        await made.commit({f"of-{made.transfer}": Record(state="done", name="file")}, ())
        failures = field.made("t") + field.made("u")
        kind = "transient" if failures < FAILURES_MAX else "credentials"
        return Ran(error="cannot connect", error_class=kind, location="c")

    field.work = fail_at_c
    async with field.node("n1") as node:
        await eventually(lambda: field.told(catalogue.PARTNER_PAUSED))
        await eventually(lambda: "broken" in {node.status(id).state for id in "tu"})
        assert node.status("v").state == "idle"
        assert field.told(catalogue.PARTNER_RESUMED) == []
        broken = False
        await node.dispatcher.run_now("t")
        await eventually(lambda: {node.status(id).state for id in "tu"} == {"idle"})
    (paused,) = field.told(catalogue.PARTNER_PAUSED)
    assert paused["location"] == "c"
    assert len(field.told(catalogue.PARTNER_RESUMED)) == 1


async def test_a_changed_config_tries_at_once(field: Field) -> None:
    """Goal: who corrects a mistake need not wait. Method: refused credentials, which wait for a minute; change them."""
    field.set(t={})
    wrong = True

    async def refuse(made: Pass) -> Ran:
        return Ran(error="refused", error_class="credentials", location="b") if wrong else Ran()

    field.work = refuse
    async with field.node("n1") as node:
        await eventually(lambda: field.made() == 1 and node.status().failures == 1)
        status = node.status()
        assert status.state == "waiting"
        assert (status.error_class, status.location, status.last_error) == ("credentials", "b", "refused")
        assert status.next_pass_at is not None
        assert status.last_pass_at is not None
        assert 25 < status.next_pass_at - status.last_pass_at < 65
        wrong = False
        field.set(t={"priority": 1})
        await eventually(lambda: node.status().state == "idle")
    assert field.made() == 2
