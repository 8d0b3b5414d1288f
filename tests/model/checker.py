"""The search: every reachable state of a protocol within bounds, breadth first, so that a trace found is a shortest."""

from __future__ import annotations

from typing import NamedTuple, get_args

from tests.model.moves import Kind, Move, actor_moves, begin, entries, moves, producer_moves, settle
from tests.model.protocol import Bounds, Protocol
from tests.model.state import State

KINDS: frozenset[Kind] = frozenset(get_args(Kind))

ALONE_MOVES_MAX = 500
"""Far more than one leader alone needs; beyond it the protocol goes round in circles."""


class Report(NamedTuple):
    """What a search found: with `wrong` None every reachable state is right."""

    states: int
    moves: int
    wrong: Kind | None = None
    trace: tuple[Move, ...] = ()

    def describe(self) -> str:
        """Tell the shortest story that ends wrong, one move a line."""
        if self.wrong is None:
            return f"{self.states:,} states, {self.moves:,} moves: all right"
        lines = [f"{number:3}  {move.who:20}  {move.what}" for number, move in enumerate(self.trace, 1)]
        return "\n".join([*lines, f"     → {self.wrong} (after {self.states:,} states)"])


def check(protocol: Protocol, bounds: Bounds, kinds: frozenset[Kind] = KINDS, states_max: int = 5_000_000) -> Report:
    """Search everything within the bounds for a violation of one of these kinds.

    Raises:
        MemoryError: more than `states_max` states; the bounds are too wide to be exhaustive.
    """
    start = State(published=(0,) * bounds.contents, late_left=bounds.late_max, lies_left=bounds.lying_renames)
    reached_from: dict[State, State | None] = {start: None}
    layer, count = [start], 0
    finished: dict[State, Report] = {}
    while layer:
        below: list[State] = []
        for state in layer:
            ending = _ends_well(state, protocol, bounds, finished)
            if ending.wrong in kinds:
                trace = (*_path(state, reached_from, protocol, bounds), *ending.trace)
                return Report(len(reached_from), count, ending.wrong, trace)
            for move in moves(state, protocol, bounds):
                count += 1
                if move.wrong in kinds:
                    trace = (*_path(state, reached_from, protocol, bounds), move)
                    return Report(len(reached_from), count, move.wrong, trace)
                if move.state not in reached_from:
                    reached_from[move.state] = state
                    below.append(move.state)
        if len(reached_from) > states_max:
            raise MemoryError(f"more than {states_max:,} states within {bounds}")
        layer = below
    return Report(len(reached_from), count)


def _path(
    state: State, reached_from: dict[State, State | None], protocol: Protocol, bounds: Bounds
) -> tuple[Move, ...]:
    """Return the moves that led to a state. Which move joined two states is found again, to hold states alone."""
    path: list[Move] = []
    before = reached_from[state]
    while before is not None:
        path.append(next(move for move in moves(before, protocol, bounds) if move.state == state))
        state, before = before, reached_from[before]
    return tuple(reversed(path))


def _ends_well(state: State, protocol: Protocol, bounds: Bounds, finished: dict[State, Report]) -> Report:
    """Stop everybody, let one new attempt go on alone, and see that it finishes everything: nothing is lost or stuck.

    Once as a new term and once within the present one. What others believed plays no part any more, so worlds that
    share the rest share the answer.
    """
    rest = state._replace(actors=(None,) * len(state.actors), late=(), late_left=0, lies_left=0, attempts=1)
    rest = settle(rest, protocol)
    if rest not in finished:
        report = _alone(rest, rest.term + 1, protocol, bounds)
        if report.wrong is None and rest.term:
            report = _alone(rest, rest.term, protocol, bounds)
        finished[rest] = report
    return finished[rest]


def _alone(state: State, term: int, protocol: Protocol, bounds: Bounds) -> Report:
    trace = [begin(state, term)]
    for _ in range(ALONE_MOVES_MAX):
        state = trace[-1].state
        move = _next_alone(state, protocol, bounds)
        if move is None:
            break
        trace.append(move)
        if move.wrong:
            return Report(0, 0, move.wrong, tuple(trace))
    wrong: Kind | None = None
    if state.records or entries(state, protocol) or state.source:
        wrong = "stuck"
    elif not all(state.published):
        wrong = "lost"
    return Report(0, 0, wrong, tuple(trace))


def _next_alone(state: State, protocol: Protocol, bounds: Bounds) -> Move | None:
    """Return the first move of the lone attempt or, when it has nothing to do, of the producer and the consumer."""
    index = len(state.actors) - 1
    actor = state.actors[index]
    candidates = () if actor is None else actor_moves(state, index, actor, protocol)
    around = producer_moves(state, protocol, bounds._replace(partner_sweeps=False))
    for source in (candidates, around):
        for move in source:
            return move._replace(state=settle(move.state, protocol))
    return None
