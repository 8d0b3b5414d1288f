"""The short form of `make faults`: one fault of each main kind, and a verdict that is seen to find what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest
from rich.console import Console

from mft.model.delivery import Record
from tests.faults import report
from tests.faults.kinds import ACTIONS
from tests.faults.link import Link
from tests.faults.moment import State, classify
from tests.faults.plan import COVERED, MEMBERS, WEIGHTS, aimed, kinds_of, never_hit, plan, states_of
from tests.faults.producer import MARKER, Batches, Kept, Produced, Taken
from tests.faults.trial import Options, run_trial
from tests.faults.verdict import Left, Took, judge
from tests.rig.waiting import eventually

SHORT = (
    "agent-kill",
    "worker-stop",
    "node-stop",
    "node-kill",
    "sshd-restart",
    "link-cut",
    "etcd-restart",
    "partner-full",
)
"""One of each main kind: a process, a node, the partner, the road to it, etcd, a disk."""


@pytest.mark.timeout(700)  # Some 35 s alone. All limits are for machines on which everything else runs too.
async def test_every_file_arrives_once_through_some_faults(tmp_path: Path) -> None:
    """Goal: destination equals source after faults of each main kind. Method: the long form's run, cut short."""
    options = Options(
        files=200, faults=len(SHORT), seed=1037, kinds=SHORT, lasts_s_max=6.5, drain_s_max=180, limit_s=420
    )
    outcome = await run_trial(tmp_path / "trial", options)
    report.show(options, outcome, Console())
    assert outcome.verdict.holds, outcome.verdict
    # A killed node may miss what etcd had just agreed to, no more.
    assert outcome.noted > 0.8 * outcome.produced
    assert {each.fault.kind for each in outcome.faults} == set(SHORT)


def _produced(number: int, name: str = "a") -> Produced:
    return Produced(number, name, f"hash {number}", 10)


def _took(number: int, name: str = "a") -> Took:
    return Took(name=name, sha256=f"hash {number}", size_bytes=10)


def test_a_verdict_finds_what_is_wrong() -> None:
    """Goal: no violation passes unseen. Method: each of them once, beside what is right."""
    produced = [_produced(number) for number in range(3)]
    right = [_took(number) for number in range(3)]
    assert judge(produced, right, Left(), []).holds
    assert judge(produced, right[:2], Left(), []).lost == ("a #2",)
    assert judge(produced, [*right, _took(0)], Left(), []).duplicated == ("a #0",)
    assert judge(produced, [*right, _took(7)], Left(), []).foreign == ("a with 10 bytes",)
    assert judge(produced, [_took(1), _took(0), _took(2)], Left(), []).disordered == ("a #0",)
    assert judge(produced, [*right, Took(name="a", gone=True)], Left(), []).overwritten == ("a",)
    assert not judge(produced, right, Left(inbox=(".x.part",)), []).holds
    assert not judge(produced, [*right, Took(overflow=True)], Left(), []).holds


def test_a_plan_is_the_seed_s() -> None:
    """Goal: a seed that found a violation finds it again. Method: draw twice; each kind and state is there."""
    assert plan(5, 40) == plan(5, 40)
    assert plan(5, 40) != plan(6, 40)
    assert {fault.kind for fault in plan(5, 40)} == set(WEIGHTS)
    assert set(WEIGHTS) - set(kinds_of(1)) == MEMBERS
    assert set(WEIGHTS) == set(ACTIONS)
    assert {fault.aim for fault in plan(5, 60)} == {None, *State}


def test_each_state_is_hit_in_the_end() -> None:
    """Goal: no state is left out of the long runs. Method: faults of which each other one misses."""
    struck: list[tuple[str, State | None]] = []
    states = states_of("move")
    for fault in plan(3, 200):
        turned = aimed(fault, struck, states)
        assert (turned.aim is None) is (fault.aim is None)
        assert turned == fault or fault.kind in COVERED
        hits = turned.aim is not None and fault.number % 2 == 0
        struck.append((fault.kind, turned.aim if hits else State.UPLOADING if fault.aim else None))
    assert never_hit(struck, states) == ()
    struck = [hit for hit in struck if hit != ("worker-stop", State.DONE)]
    assert never_hit(struck, states) == ("worker-stop at done",)
    assert never_hit(struck, states_of("copy")) == ()


async def test_a_road_is_held_one_way() -> None:
    """Goal: a delivery can be held in the state that is aimed at. Method: an echo; hold each direction by itself."""
    heard: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError), contextlib.closing(writer):
            while data := await reader.read(100):
                heard.append(data)
                writer.write(data)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    link = Link(server.sockets[0].getsockname()[1])
    async with server, link.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        link.answers.hold()
        writer.write(b"1")
        await eventually(lambda: heard == [b"1"], 20, what="the request")
        link.open()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(100), 0.2)
        link.answers.release()
        assert await reader.read(100) == b"1"
        link.requests.hold()
        writer.write(b"2")
        await asyncio.sleep(0.2)
        assert heard == [b"1"]
        link.cut()
        link.requests.release()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read(100) == b""
        writer.close()
        await writer.wait_closed()
    assert heard == [b"1"], "what a cut has taken never arrives"


def test_states_are_told_apart() -> None:
    """Goal: a fault is aimed at the state that it says. Method: the traces that each state leaves, side by side."""
    intent, done = Record(state="intent", name="x", names=("t1",)), Record(state="done", name="x")
    records = {"b": intent, "c": intent, "d": done, "e": done}
    records["c"] = Record(state="intent", name="x", names=("t2",))
    found = classify(records, {"a", "b", "c", "d"}, {".a.1-1.1-0.part", "t1"})
    assert found == {
        "a": State.UPLOADING,
        "b": State.INTENT,
        "c": State.RENAMED,
        "d": State.DONE,
        "e": State.REMOVED,
    }


def test_a_verdict_on_batches() -> None:
    """Goal: a part of a batch that shows too soon is found. Method: files beside it, missing, and the marker first."""
    produced = [Produced(n, name, f"hash {n}", 10 + n) for n, name in enumerate(("a", "b", "end", "a", "end"))]

    def took(number: int, *beside: int) -> Took:
        return Took(produced[number].name, f"hash {number}", 10 + number, beside=beside)

    def early(*arrivals: Took) -> tuple[str, ...]:
        return judge(produced, arrivals, Left(), [], marker="end").early

    assert early(took(0, 11, 12), took(1, 12, 13), took(2), took(3, 14), took(4)) == ()
    assert early(took(0, 11, 13), took(1, 12), took(2), took(3, 14), took(4)) == ("a #0 without end #2",)
    assert early(took(0, 11, 12), took(2, 11), took(1), took(3, 14), took(4)) == ("end before b #1",)


def test_names_come_again_when_they_may(tmp_path: Path) -> None:
    """Goal: each flow's producer is the one it says. Method: look at the names that are free, step by step."""
    taken = Taken(tmp_path, 2)
    (tmp_path / "report-000.dat").touch()
    assert taken.free([]) == ["report-001.dat"]
    arrived: set[str] = set()
    kept = Kept(2, arrived.__contains__)
    produced = [_produced(0, "report-000.dat"), _produced(1, "report-001.dat")]
    assert kept.free(produced[:1]) == ["report-001.dat"]
    assert kept.free(produced) == []
    arrived.add("hash 1")
    assert kept.free(produced) == ["report-001.dat"]
    batches, names = Batches(tmp_path, 12, random.Random(1)), list[str]()
    while len(names) < 12:
        (name,) = batches.free([])
        batches.chosen(name)
        names.append(name)
        (tmp_path / name).touch()
        if name == MARKER:
            assert batches.free([]) == []
            for each in set(names):
                (tmp_path / each).unlink(missing_ok=True)
    assert names[-1] == MARKER
    assert names.count(MARKER) >= 2
