"""What each kind of fault does: table kind → action. An action returns when what it did is undone."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set

from tests.faults.field import Field, empty_disk, fill_disk, living, send
from tests.faults.link import Link
from tests.faults.moment import SEEN_BEFORE, Moment, State
from tests.faults.plan import AIMED, Fault
from tests.rig.cluster import Program
from tests.rig.etcd_cluster import EtcdCluster
from tests.rig.waiting import eventually, on_this_machine

_FREEZES_MAX = 40
_AIM_S_MAX = 8.0
"""Tries to meet the wanted state; then any delivery in flight will do."""
_RUN_ON_S = (0.004, 0.03)
"""Bounds of the time between two freezes, in which the deliveries go on; besides thrice what the freeze took: on a busy
machine that can be a second, and aiming alone would cost the lease."""
_LOOK_S = 0.01
_ANSWER_S = 0.06
"""How long answers take while a state is aimed at that they end."""
_STAND_S_MAX = 1.0
"""How long is waited for the wanted state with the road held: far less than the time to live of a lease."""
_OUTLIVE_S_MAX = 10.0
_CUT_BYTES_MAX = 400_000


class Done:
    """What a fault came to: filled while it is carried out."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hit: State | None = None
        """A state that a delivery was in when it struck: for aimed kinds exactly, else a moment before."""
        self.target = ""
        self.skipped = ""
        self.trouble = ""


Action = Callable[[Field, Done, random.Random, "asyncio.Event"], Awaitable[None]]
"""Sets the event when the fault has struck; the next one may then overlap it."""


async def carry_out(field: Field, done: Done, struck: asyncio.Event) -> None:
    """Carry out one fault and undo it. For those that are not aimed, see first what is in flight."""
    if done.fault.kind not in AIMED:
        moment = await field.look()
        done.hit = moment.rarest() if moment else None
    try:
        await ACTIONS[done.fault.kind](field, done, random.Random(done.fault.seed), struck)
    finally:
        struck.set()


# ---- processes


async def _on_processes(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    victim, _, verb = done.fault.kind.partition("-")
    async with contextlib.AsyncExitStack() as stack:
        node = await _aim(field, done, draw, stack)
        pids = _victims(node, victim)
        family = node.family()
        if verb == "kill":
            send(pids, signal.SIGKILL)
        field.release(node.name, is_cut=draw.random() < 0.5)
        field.thaw(node, but=pids)
        struck.set()
        if verb == "stop":
            try:
                await asyncio.sleep(done.fault.lasts_s)
            finally:
                send(living(pids), signal.SIGCONT)
        elif victim in {"guardian", "node"}:
            await asyncio.sleep(done.fault.lasts_s)
            await _again(done, node, family)


async def _aim(field: Field, done: Done, draw: random.Random, stack: contextlib.AsyncExitStack) -> Program:
    """Choose a node, claim it, and freeze it as it has a delivery in the wanted state; else as it comes."""
    until = time.monotonic() + _AIM_S_MAX
    for _ in range(_FREEZES_MAX):
        moment = await field.look() if done.fault.aim is None else await _in_flight(field, until, set(State))
        name = moment.leader if moment and moment.leader else draw.choice(field.names)
        if done.fault.aim is None and draw.random() < 0.4:
            name = draw.choice(field.names)
        async with contextlib.AsyncExitStack() as claimed:
            await claimed.enter_async_context(field.claim(name))
            node = field.cluster.nodes[name]
            _check_running(done, node)
            claimed.callback(field.release, name)
            claimed.callback(field.thaw, node)
            if done.fault.aim in SEEN_BEFORE:
                await _come_to_stand(field, name, done.fault.aim, until)
            began = time.monotonic()
            seen = await field.freeze(node, done.fault.aim)
            states = seen.states if seen and seen.leader == name else {}
            if done.fault.aim is None or done.fault.aim in states.values():
                done.target, done.hit = name, done.fault.aim if states else None
                stack.push_async_exit(claimed.pop_all())
                return node
        if time.monotonic() > until:
            break
        await asyncio.sleep(draw.uniform(*_RUN_ON_S) + 3 * (time.monotonic() - began))
    name = moment.leader if moment and moment.leader else draw.choice(field.names)
    await stack.enter_async_context(field.claim(name))
    node = field.cluster.nodes[name]
    _check_running(done, node)
    stack.callback(field.thaw, node)
    seen = await field.freeze(node, done.fault.aim)
    done.target, done.hit = name, seen.rarest() if seen and seen.leader == name else None
    return node


async def _come_to_stand(field: Field, name: str, aim: State, until: float) -> None:
    """Have a delivery stand in the wanted state, which may else pass in milliseconds, by holding the road to etcd.

    First answers are slow, so that the state is seen which an answer ends. Then no answer passes, or no request, so
    that it ends there or in the one after. What is held arrives late or never, as networks do it.
    """
    field.slow_answers(name, aim, _ANSWER_S)
    await _in_flight(field, until, {SEEN_BEFORE[aim], aim})
    field.hold(name, aim)
    await _in_flight(field, min(until, time.monotonic() + _STAND_S_MAX), {aim})


async def _in_flight(field: Field, until: float, wanted: Set[State]) -> Moment | None:
    """Look until a delivery is in a wanted state: batches come all at once, and between them a freeze meets nothing."""
    while True:
        moment = await field.look()
        if (moment is not None and wanted & set(moment.states.values())) or time.monotonic() > until:
            return moment
        await asyncio.sleep(_LOOK_S)


def _check_running(done: Done, node: Program) -> None:
    """Start a node again that has ended; each fault starts those that it ends, so this one did so by itself."""
    if not node.running():
        done.trouble = f"node {node.name} had ended by itself"
        node.launch()


def _victims(node: Program, victim: str) -> list[int]:
    match victim:
        case "agent":
            return [pid for pid in [node.agent()] if pid]
        case "worker":
            return node.workers("outbound")
        case "guardian":
            return [node.pid] if node.running() else []
        case _:
            return node.family() if node.running() else []


async def _again(done: Done, node: Program, family: list[int]) -> None:
    """Start a node again whose guardian was killed; nothing of it may be left by then."""
    try:
        limit_s = on_this_machine(_OUTLIVE_S_MAX)
        await eventually(lambda: not living(family) and not node.running(), limit_s, what="its processes end")
    except AssertionError:
        done.trouble = f"processes {living(family)} of {node.name} outlived their guardian"
        send(living(family), signal.SIGKILL)
    if not node.running():
        node.launch()


# ---- the partner, the road to it, etcd


async def _sshd_restart(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    async with field.claim("partner"):
        field.cluster.partner.kill()
        struck.set()
        await asyncio.sleep(done.fault.lasts_s)
        await field.cluster.partner.start()


async def _cut(link: Link, draw: random.Random, lasts_s: float, struck: asyncio.Event) -> None:
    """Cut in the middle of what is on its way; sometimes the road stays closed for a while."""
    link.cut_after(draw.randrange(_CUT_BYTES_MAX))
    await asyncio.sleep(min(lasts_s, 1.5))
    link.is_closed = draw.random() < 0.5
    link.cut()
    struck.set()
    await asyncio.sleep(lasts_s if link.is_closed else 0)
    link.open()


async def _stall(link: Link, draw: random.Random, lasts_s: float, struck: asyncio.Event) -> None:
    """Let nothing pass for a while; then what was held arrives, or the connections are reset."""
    link.stall()
    struck.set()
    await asyncio.sleep(lasts_s)
    if draw.random() < 0.4:
        link.cut()
    link.open()


async def _link_cut(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    async with field.claim("partner"):
        await _cut(field.partner_link, draw, done.fault.lasts_s, struck)


async def _link_stall(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    async with field.claim("partner"):
        await _stall(field.partner_link, draw, done.fault.lasts_s, struck)


async def _link_slow(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    async with field.claim("partner"):
        field.partner_link.delay_s = draw.uniform(0.01, 0.15)
        struck.set()
        await asyncio.sleep(done.fault.lasts_s)
        field.partner_link.open()


async def _etcd_restart(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    async with field.claim("etcd"):
        field.etcd.kill()
        struck.set()
        await asyncio.sleep(done.fault.lasts_s)
        await field.etcd.start()


async def _etcd_stop(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    async with field.claim("etcd"):
        field.etcd.pause()
        try:
            struck.set()
            await asyncio.sleep(done.fault.lasts_s)
        finally:
            field.etcd.resume()


async def _etcd_member(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    """Take the leading member away, or any, or have the leading one hand over. The others go on after an election."""
    _, whom, verb = done.fault.kind.split("-")
    assert isinstance(field.etcd, EtcdCluster)
    async with field.claim("etcd"):
        if verb == "move":
            if not await field.etcd.move_leader():
                done.skipped = "etcd had no leader that could hand over"
            return
        leader = await field.etcd.leader() if whom == "leader" else None
        member = leader or draw.choice(field.etcd.members)
        done.target = f"m{field.etcd.members.index(member)}"
        if verb == "kill":
            member.kill()
        else:
            member.pause()
        try:
            struck.set()
            await asyncio.sleep(done.fault.lasts_s)
        finally:
            if verb == "stop":
                member.resume()
        if verb == "kill":
            await member.start()


async def _road(field: Field, done: Done, draw: random.Random) -> str:
    moment = await field.look()
    done.target = moment.leader if moment and moment.leader and draw.random() < 0.75 else draw.choice(field.names)
    return done.target


async def _etcd_road_cut(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    name = await _road(field, done, draw)
    async with field.claim(f"road-{name}"), asyncio.TaskGroup() as tasks:
        for road in _roads(field, name, draw):
            tasks.create_task(_cut(road, draw, done.fault.lasts_s, struck), name="cut")


async def _etcd_road_stall(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    name = await _road(field, done, draw)
    async with field.claim(f"road-{name}"), asyncio.TaskGroup() as tasks:
        for road in _roads(field, name, draw):
            tasks.create_task(_stall(road, draw, done.fault.lasts_s, struck), name="stall")


def _roads(field: Field, name: str, draw: random.Random) -> Sequence[Link]:
    """Choose among the roads of a node to etcd: all, as when its network fails, or the one to a single member."""
    roads = field.etcd_links[name]
    return roads if draw.random() < 0.6 else [draw.choice(roads)]


# ---- disks


async def _full(field: Field, done: Done, draw: random.Random, struck: asyncio.Event) -> None:
    disk = done.fault.kind.partition("-")[0]
    if disk not in field.disks:
        done.skipped = "this user may not mount a small disk"
        return
    async with field.claim(f"disk-{disk}"):
        fill_disk(field.disks[disk])
        try:
            struck.set()
            await asyncio.sleep(done.fault.lasts_s)
        finally:
            empty_disk(field.disks[disk])


ACTIONS: Mapping[str, Action] = {
    "agent-kill": _on_processes,
    "agent-stop": _on_processes,
    "worker-kill": _on_processes,
    "worker-stop": _on_processes,
    "guardian-kill": _on_processes,
    "node-kill": _on_processes,
    "node-stop": _on_processes,
    "sshd-restart": _sshd_restart,
    "link-cut": _link_cut,
    "link-stall": _link_stall,
    "link-slow": _link_slow,
    "etcd-restart": _etcd_restart,
    "etcd-stop": _etcd_stop,
    "etcd-road-cut": _etcd_road_cut,
    "etcd-road-stall": _etcd_road_stall,
    "etcd-leader-kill": _etcd_member,
    "etcd-leader-stop": _etcd_member,
    "etcd-leader-move": _etcd_member,
    "etcd-member-kill": _etcd_member,
    "etcd-member-stop": _etcd_member,
    "partner-full": _full,
    "source-full": _full,
}
