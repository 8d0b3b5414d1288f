"""One whole run: files flow, faults come, then all must drain; and the verdict."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from mft.errors import MftError
from tests.faults.field import Field, Flow
from tests.faults.kinds import Done, carry_out
from tests.faults.plan import COVERED, COVERING, Fault, Hits, aimed, kinds_of, never_hit, plan, states_of
from tests.faults.producer import MARKER, Batches, Kept, Naming, Producer, Taken
from tests.faults.verdict import Left, Verdict, judge
from tests.rig.waiting import eventually

_PRODUCE_S_MAX = 120.0


class Options(Struct, frozen=True, kw_only=True):
    """What a run is to be."""

    files: int
    faults: int
    seed: int
    flow: Flow = "move"
    nodes: int = 2
    names: int = 24
    """Names that the producer uses; of a copy flow 0: none twice."""
    etcd_members: int = 1
    transfer: Mapping[str, Any] = {}
    """Fields of the transfer that are set besides what the flow needs."""
    parallel_files: int = 6
    kinds: tuple[str, ...] = kinds_of(1)
    lasts_s_max: float = 9.0
    """No fault lasts longer."""
    drain_s_max: float = 240.0
    """How long everything may take to drain after the last fault."""
    limit_s: float = 4800.0
    """How long files and faults may take; no fault comes later, and what was not produced by then is not."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What a run came to."""

    faults: tuple[Done, ...]
    produced: int
    produced_bytes: int
    duration_s: float
    drain_s: float
    noted: int
    """Deliveries that stand as done in the nodes' record files; one whose answer a kill cut off may be missing."""
    verdict: Verdict


class _Stretches:
    """Divides the files into stretches, one before each fault and one after the last.

    A stretch is released when the fault before it begins, so that faults and files are spread over one another however
    fast the files flow.
    """

    def __init__(self, files: int, faults: int) -> None:
        self._size = files / (faults + 1)
        self._released = self._size
        self._changed = asyncio.Event()

    def release(self) -> None:
        """Release one more stretch."""
        self._released += self._size
        self._changed.set()

    def release_all(self) -> None:
        """Release everything that is left."""
        self._released = float("inf")
        self._changed.set()

    def due(self, fault: Fault) -> int:
        """Return how many files are to be produced before this fault comes."""
        return int((fault.number + fault.at) * self._size)

    async def may(self, number: int) -> None:
        """Return when the file of this number may be produced."""
        while number >= self._released - 0.5:
            self._changed.clear()
            await self._changed.wait()


async def run_trial(folder: Path, options: Options) -> Outcome:
    """Make one run in `folder`."""
    faults = plan(options.seed, options.faults, options.kinds, options.lasts_s_max)
    keeps = options.flow == "copy"
    field = Field(
        folder,
        options.flow,
        nodes=options.nodes,
        parallel_files=options.parallel_files,
        kept=(options.names or options.files) if keeps else 0,
        etcd_members=options.etcd_members,
        fields=options.transfer,
    )
    began = time.monotonic()
    async with field.running():
        draw = random.Random(f"files {options.seed}")
        producer = Producer(field.cluster.outgoing, options.files, _naming(field, options, draw), draw)
        trouble: list[str] = []
        try:
            async with asyncio.timeout(options.limit_s):
                done = await _flow(field, producer, faults, options)
        except TimeoutError:
            done = []
            trouble.append(f"files and faults were not through within {options.limit_s:.0f} s")
        await field.heal()
        healed = time.monotonic()
        left = await _drained(field, producer, healed + options.drain_s_max)
        drain_s = time.monotonic() - healed
        if left != Left():
            trouble.append(f"not drained within {options.drain_s_max:.0f} s")
        trouble += [each.trouble for each in done if each.trouble]
        if len(done) >= COVERING and set(COVERED) <= set(options.kinds):
            trouble += [f"never hit: {each}" for each in never_hit(hits(done), states_of(options.flow))]
        if keeps:
            trouble += [f"source {name} is gone" for name in field.missing(producer.produced)]
        noted = field.noted()
        marker = MARKER if options.flow == "batch" else ""
        verdict = judge(producer.produced, field.took(), left, trouble, marker=marker)
    return Outcome(
        faults=tuple(done),
        produced=len(producer.produced),
        produced_bytes=sum(content.size_bytes for content in producer.produced),
        duration_s=time.monotonic() - began,
        drain_s=drain_s,
        noted=noted,
        verdict=verdict,
    )


def _naming(field: Field, options: Options, draw: random.Random) -> Naming:
    """Choose by which rule the flow's producer gives names."""
    match options.flow:
        case "move":
            return Taken(field.cluster.outgoing, options.names)
        case "copy":
            return Kept(options.names, field.arrived)
        case "batch":
            return Batches(field.cluster.outgoing, options.files, draw)


async def _flow(field: Field, producer: Producer, faults: Sequence[Fault], options: Options) -> list[Done]:
    """Let the files flow and the faults come, until all of both are through."""
    stretches = _Stretches(options.files, len(faults))
    done: list[Done] = []
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(producer.run(stretches.may), name="producer")
        for fault in faults:
            await _produced(producer, stretches.due(fault))
            stretches.release()
            done.append(Done(aimed(fault, hits(done), states_of(options.flow))))
            struck = asyncio.Event()
            task = tasks.create_task(carry_out(field, done[-1], struck), name=f"fault:{fault.number}")
            began = time.monotonic()
            await (struck.wait() if fault.overlaps else asyncio.wait([task]))
            _tell(done[-1], time.monotonic() - began, len(producer.produced))
        stretches.release_all()
    return done


def hits(done: Sequence[Done]) -> Hits:
    """Give what the faults that struck have hit."""
    return [(each.fault.kind, each.hit) for each in done if not each.skipped]


async def _produced(producer: Producer, count: int) -> None:
    """Wait until so many files are produced; at a standstill faults go on, for one of them may end it."""
    with suppress(AssertionError):
        await eventually(lambda: len(producer.produced) >= count, _PRODUCE_S_MAX, what="files")


async def _drained(field: Field, producer: Producer, deadline: float) -> Left:
    """Wait until nothing is left and all has arrived, or the deadline; return what is left then."""
    left = Left(records=("etcd did not answer",))
    while True:
        try:
            left = await field.left()
        except MftError:
            pass
        arrived = len({each.sha256 for each in field.took() if each.sha256})
        if (left == Left() and arrived >= len(producer.produced)) or time.monotonic() > deadline:
            return left
        await asyncio.sleep(0.2)


def _tell(done: Done, took_s: float, produced: int) -> None:
    fault = done.fault
    aim = f" aimed at {fault.aim}, hit {done.hit}" if fault.aim else ""
    print(
        f"{fault.number:4} {fault.kind:16} {done.target:2}{fault.lasts_s:5.1f} s{aim}"
        f"  ({took_s:.1f} s, {produced} files{', overlapped' if fault.overlaps else ''}){done.skipped}{done.trouble}",
        flush=True,
    )
