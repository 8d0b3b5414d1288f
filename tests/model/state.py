"""The world of the model: one frozen value that holds everything two interleavings could differ in."""

from __future__ import annotations

from typing import Literal, NamedTuple

Content = int
"""What the producer wrote: 1, 2 … in order. A higher number is newer, all have one name. Negative: half written."""

Delivery = int
"""Id of a delivery. One is taken once and has one content, so the content's number stands for it; 0 = named by file."""

Step = Literal[
    "scan",  # list the source, `.mft/` and the journal
    "take",  # the source was seen; rename it to `.mft/<delivery>/<name>`
    "claim",  # journal `taken`; only where the guard is "record"
    "upload",  # read the taken source into the temp file of this attempt
    "intent",  # journal `intent [mine]`
    "extend",  # journal `intent [old names, mine]`
    "look",  # look whether the taken source still stands; only where the guard is "source"
    "steal",  # rename the old names to mine, one after the other
    "confirm",  # all old names are gone: look for mine
    "shorten",  # journal `intent [mine]`: it is stolen, so no old name leads to anything
    "give back",  # journal `intent [old names]`: the partner refused to rename to mine
    "rename",  # rename mine to the final name
    "withdraw",  # journal `taken`: an overwrite rule forbids that rename
    "clear",  # remove mine, which may not be published
    "done",  # journal `done`
    "hold",  # journal `uncertain`: the operator decides
    "give up",  # journal `quarantined`, before any intent: the operator decides
    "remove",  # remove the taken source
    "forget",  # remove the record
    "reread",  # a transaction's reply was lost: read the record before anything else
]

TRANSACTIONS = frozenset(
    {"claim", "intent", "extend", "shorten", "give back", "done", "hold", "give up", "forget", "withdraw"}
)

ABSENT, STANDS, STALE = 0, 1, -1
"""What a mod revision that was read has become: no record then, the record as it now is, or one that never returns.

Revisions only grow, so equality with the present record's is all that a compare can ask of one. `ABSENT` is the
exception that the model is for: a record that was forgotten compares as absent *again*.
"""


class Temp(NamedTuple):
    """Name of a temp file: `.<delivery>.<term>.<attempt>.part`, `again` counting uploads of one attempt."""

    delivery: Delivery
    term: int
    attempt: int
    again: int = 0

    def __str__(self) -> str:
        return f".{self.delivery}.{self.term}.{self.attempt}{'+' * self.again}.part"


class Record(NamedTuple):
    """A record of the journal: the parts of `mft.model.delivery.Record` that decide anything."""

    state: Literal["taken", "intent", "done", "uncertain", "quarantined"]
    names: tuple[Temp, ...] = ()

    def __str__(self) -> str:
        return f"{self.state} [{', '.join(map(str, self.names))}]" if self.names else self.state


class Actor(NamedTuple):
    """One attempt of one term and all it believes. Paused, dead and slow are the same thing: it is not its turn."""

    term: int
    step: Step = "scan"
    delivery: Delivery = 0
    seen: int = ABSENT
    temp: Temp | None = None
    names: tuple[Temp, ...] = ()
    """Old names still to be stolen, in the order in which they are tried."""
    unknown: Step | None = None
    """In `reread`: the transaction whose reply was lost."""


class Transaction(NamedTuple):
    """A journal transaction on its way after its sender has given it up. `record` None removes."""

    term: int
    delivery: Delivery
    seen: int
    record: Record | None


class State(NamedTuple):
    """Everything. Mappings are sorted tuples of pairs, so that equal worlds are equal values."""

    source: Content = 0
    """What stands at the producer's name; 0 = nothing."""
    writing: bool = False
    """The producer has not finished the newest content yet."""
    produced: int = 0
    taken: tuple[tuple[Delivery, Content], ...] = ()
    """What stands in `.mft/`."""
    records: tuple[tuple[Delivery, Record], ...] = ()
    temps: tuple[tuple[Temp, Content], ...] = ()
    """Finished temp files at the partner."""
    published: tuple[int, ...] = ()
    """Copies of each content that the consumer has had, counted to two."""
    final: Content = 0
    """What stands at the final name; always nothing where the consumer takes files at once."""
    term: int = 0
    attempts: int = 0
    """How many attempts the present term has begun."""
    actors: tuple[Actor | None, ...] = ()
    late: tuple[Transaction, ...] = ()
    late_left: int = 0
    """How many transactions may still lose their reply."""
    lies_left: int = 0
    """How many renames may still be executed and answered "no such file"."""


def record_of(state: State, delivery: Delivery) -> Record | None:
    """Return a delivery's record."""
    for key, record in state.records:
        if key == delivery:
            return record
    return None


def content_of(state: State, temp: Temp | None) -> Content | None:
    """Return what a temp file at the partner holds; None if it is not there."""
    for key, content in state.temps:
        if key == temp:
            return content
    return None


def with_temp(state: State, temp: Temp, content: Content | None) -> State:
    """Put (or with None remove) a temp file."""
    rest = tuple(pair for pair in state.temps if pair[0] != temp)
    return state._replace(temps=rest if content is None else tuple(sorted((*rest, (temp, content)))))


def with_actor(state: State, index: int, actor: Actor | None) -> State:
    """Replace one attempt's beliefs; None: it has ended."""
    return state._replace(actors=(*state.actors[:index], actor, *state.actors[index + 1 :]))


def is_current(seen: int, record: Record | None) -> bool:
    """Compare a mod revision that was read with the record as it is."""
    return seen == (ABSENT if record is None else STANDS)


def write(state: State, delivery: Delivery, record: Record | None) -> State:
    """Put or remove a record: whatever had read the one before will be refused from now on."""
    rest = [pair for pair in state.records if pair[0] != delivery]
    if record is not None:
        rest.append((delivery, record))

    actors = tuple(
        actor._replace(seen=STALE)
        if actor is not None and actor.delivery == delivery and actor.seen == STANDS
        else actor
        for actor in state.actors
    )
    late = tuple(
        each._replace(seen=STALE) if each.delivery == delivery and each.seen == STANDS else each for each in state.late
    )
    return state._replace(records=tuple(sorted(rest)), actors=actors, late=late)
