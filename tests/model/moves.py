"""What can happen next: each move is one access to what is shared, so every interleaving of accesses is a path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from tests.model.protocol import Bounds, Protocol
from tests.model.state import (
    ABSENT,
    STALE,
    STANDS,
    TRANSACTIONS,
    Actor,
    Content,
    Delivery,
    Record,
    State,
    Step,
    Temp,
    Transaction,
    content_of,
    is_current,
    record_of,
    with_actor,
    with_temp,
    write,
)

Kind = Literal["double", "lost", "done unpublished", "half written", "older last", "overwritten", "stuck"]
"""What can go wrong: a second copy; content that no longer exists anywhere unpublished; `done` of what was not
published; a file published before its producer had finished; an older file published after a newer one of its name;
a rename onto something that is there; a record or taken source that no leader ever finishes."""


class Move(NamedTuple):
    """One move: who did what, the world after it, and what is wrong with it."""

    who: str
    what: str
    state: State
    wrong: Kind | None = None


def moves(state: State, protocol: Protocol, bounds: Bounds) -> Iterator[Move]:
    """Yield every move of the world, settled."""
    for move in _all(state, protocol, bounds):
        if all(len(record.names) <= bounds.names_max for _, record in move.state.records):
            yield move._replace(state=settle(move.state, protocol, bounds.settles))


def _all(state: State, protocol: Protocol, bounds: Bounds) -> Iterator[Move]:
    for index, actor in enumerate(state.actors):
        if actor is not None:
            yield from actor_moves(state, index, actor, protocol)
    yield from _late_transactions(state, protocol)
    yield from producer_moves(state, protocol, bounds)
    yield from _beginnings(state, bounds)


# ---- the world around the leaders


def producer_moves(state: State, protocol: Protocol, bounds: Bounds) -> Iterator[Move]:
    """Yield what the producer and the consumer can do."""
    if state.writing:
        yield Move("producer", f"finishes content {state.produced}", state._replace(writing=False))
    # A name is free when its file was taken. Where nothing is taken, the producer waits until it sees it delivered.
    free = state.source == 0 or (protocol.takes == "no" and state.published[state.source - 1] > 0)
    if free and not state.writing and state.produced < bounds.contents:
        new = state.produced + 1
        after = state._replace(source=new, produced=new, writing=bounds.writes_in_place)
        yield Move("producer", f"{'begins' if bounds.writes_in_place else 'writes'} content {new}", after)
    if state.final:
        yield Move("consumer", "takes the file away", state._replace(final=0))
    for key, record in state.records:
        if record.state == "quarantined":
            yield Move(
                "operator",
                f"has {key} sent again",
                write(state, key, None if protocol.forgets_given_up else Record("taken")),
            )
    if bounds.partner_sweeps:
        for temp, _ in state.temps:
            yield Move("partner", f"sweeps {temp}", with_temp(state, temp, None))


def _beginnings(state: State, bounds: Bounds) -> Iterator[Move]:
    if len(state.actors) == bounds.actors_max:
        return
    if state.term < bounds.terms_max:
        yield begin(state, state.term + 1)
    if 0 < state.attempts < bounds.attempts_max:
        yield begin(state, state.term)


def begin(state: State, term: int) -> Move:
    """Begin an attempt, of a new term or of the present one. Nobody who was there before need notice."""
    attempts = 1 if term > state.term else state.attempts + 1
    after = state._replace(term=term, attempts=attempts, actors=(*state.actors, Actor(term)))
    return Move(_who(len(state.actors), term), "begins to lead" if attempts == 1 else "begins another attempt", after)


def _late_transactions(state: State, protocol: Protocol) -> Iterator[Move]:
    for index, late in enumerate(state.late):
        if not _is_refused(state, late.term, late.seen, late.delivery, protocol):
            rest = state._replace(late=(*state.late[:index], *state.late[index + 1 :]))
            wrong = _wrong_done(rest, late.delivery, late.record)
            what = f"late transaction of term {late.term} is applied: {late.record or 'forget'}"
            yield Move("etcd", f"{late.delivery}: {what}", write(rest, late.delivery, late.record), wrong)


def settle(state: State, protocol: Protocol, joins: bool = True) -> State:
    """Drop what can have no effect any more, so that worlds which differ in nothing that matters are one.

    An attempt whose next effect is a transaction that must be refused ends (its term is over) or lists again (its
    mod revision is). Temp files to which no name leads any more are litter; these go even without `joins`, since
    otherwise a world would never come back to itself.
    """
    if joins:
        actors = tuple(_settled(actor, state, protocol) for actor in state.actors)
        late = tuple(each for each in state.late if not _is_refused_for_ever(state, each, protocol))
        state = state._replace(actors=actors, late=late)
    if state.temps:
        reachable = _referenced(state)
        state = state._replace(temps=tuple(pair for pair in state.temps if pair[0] in reachable))
    return state


def _is_refused_for_ever(state: State, late: Transaction, protocol: Protocol) -> bool:
    return (protocol.compares_term and late.term < state.term) or (protocol.compares_mod and late.seen == STALE)


def _settled(actor: Actor | None, state: State, protocol: Protocol) -> Actor | None:
    if actor is None or (actor.step not in TRANSACTIONS and actor.step != "upload"):
        return actor
    if protocol.compares_term and actor.term < state.term:
        return None
    if protocol.compares_mod and actor.seen == STALE:
        return Actor(actor.term)
    return actor


def _referenced(state: State) -> set[Temp]:
    names = {name for _, record in state.records for name in record.names}
    names.update(name for late in state.late if late.record is not None for name in late.record.names)
    for actor in state.actors:
        if actor is not None:
            names.update(actor.names)
            if actor.temp is not None:
                names.add(actor.temp)
    return names


# ---- one attempt


def _who(index: int, term: int) -> str:
    return f"term {term}, attempt {index + 1}"


def entries(state: State, protocol: Protocol) -> dict[Delivery, Content]:
    """Return what stands to be delivered: the taken sources, or where nothing is taken the source itself."""
    if protocol.takes == "no":
        return {0: state.source} if state.source else {}
    return dict(state.taken)


def actor_moves(state: State, index: int, actor: Actor, protocol: Protocol) -> Iterator[Move]:
    """Yield what one attempt can do next: mostly one thing; in `scan`, one for each thing it may choose."""
    if actor.step in TRANSACTIONS:
        yield from _transact(state, index, actor, protocol)
        return
    for what, after, new, wrong in _STEPS[actor.step](state, index, actor, protocol):
        subject = f"{actor.delivery or new.delivery}: " if actor.delivery or new.delivery else ""
        yield Move(_who(index, actor.term), subject + what, with_actor(after, index, new), wrong)


Outcome = Iterator[tuple[str, State, Actor, Kind | None]]


def _scan(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    here = entries(state, protocol)
    aside = {key for key, record in state.records if record.state == "quarantined"}
    for key in aside - here.keys():
        yield "finds no source of what was given up", state, Actor(actor.term, "forget", key, STANDS), None
    keys = sorted({*here, *(key for key, _ in state.records)} - aside)
    for key in keys[:1] if protocol.one_name_at_a_time else keys:
        record = record_of(state, key)
        unfinished = state.writing and here.get(key) == state.produced
        if not _is_workable(record, unfinished, protocol):
            continue
        new = _picked(actor, key, record, _fresh(state, index, actor.term, key, protocol), protocol)
        yield f"finds {record or 'no record'}", state, new, None
        if protocol.gives_up and new.step == "upload":
            yield "has failed too often with it", state, new._replace(step="give up", temp=None), None
    # What is listed has been seen unchanged for a while; what is later renamed may be another file of that name.
    if protocol.takes != "no" and state.source and not state.writing:
        yield "sees the source", state, actor._replace(step="take"), None


def _picked(actor: Actor, key: Delivery, record: Record | None, temp: Temp, protocol: Protocol) -> Actor:
    new = Actor(actor.term, delivery=key, seen=ABSENT if record is None else STANDS, temp=temp)
    if record is None and protocol.guard == "record":
        return new._replace(step="claim")
    if record is None or record.state == "taken" or (record.state == "intent" and protocol.takeover == "restart"):
        return new._replace(step="upload")
    if record.state == "intent":
        names = record.names if protocol.oldest_first else record.names[::-1]
        return new._replace(step="extend" if protocol.journals_before_stealing else "steal", names=names)
    return new._replace(step=_after_done(protocol), temp=None)


def _is_workable(record: Record | None, unfinished: bool, protocol: Protocol) -> bool:
    if record is None:
        return not (unfinished and protocol.waits_until_stable)
    return record.state != "uncertain"


def _fresh(state: State, index: int, term: int, key: Delivery, protocol: Protocol) -> Temp:
    """Return a temp name that nothing refers to: as good as one that was never used."""
    if not protocol.names_attempts:
        return Temp(key, term, 0)
    used = _referenced(state)
    again = 0
    while Temp(key, term, index + 1, again) in used:
        again += 1
    return Temp(key, term, index + 1, again)


def _take(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    new = Actor(actor.term)
    if not state.source:
        yield "source is gone", state, new, None
        return
    key = state.source if protocol.takes == "by id" else 0
    before = dict(state.taken).get(key)
    overwrites = before is not None and not state.published[before - 1]
    taken = tuple(sorted({**dict(state.taken), key: state.source}.items()))
    what = f"takes content {state.source}{', still being written' if state.writing else ''}"
    yield what, state._replace(source=0, taken=taken), new, "lost" if overwrites else None


def _upload(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    content = entries(state, protocol).get(actor.delivery)
    assert actor.temp is not None
    if content is None:
        claimed = actor.seen == STANDS  # As `taken`: by this attempt, or by one that took its intent back.
        after = actor._replace(step="forget", temp=None) if claimed else Actor(actor.term)
        yield "finds no taken source", state, after, None
        return
    half = state.writing and content == state.produced
    after_upload = with_temp(state, actor.temp, -content if half else content)
    yield f"uploads {actor.temp}", after_upload, actor._replace(step="intent"), None


def _look(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    if actor.delivery in entries(state, protocol):
        yield "sees that the taken source stands", state, actor._replace(step=_next_at_partner(actor)), None
    else:
        yield "sees no taken source, so it was published", state, _to_done(actor), None


def _next_at_partner(actor: Actor) -> Step:
    return "steal" if actor.names else "rename"


def _to_done(actor: Actor) -> Actor:
    return actor._replace(step="done", temp=None, names=())


def _all_gone(actor: Actor, protocol: Protocol) -> Actor:
    if actor.step == "steal" and protocol.looks_at_mine:
        return actor._replace(step="confirm", names=())
    if protocol.on_all_gone == "done":
        return _to_done(actor)
    if protocol.on_all_gone == "hold":
        return actor._replace(step="hold", temp=None, names=())
    return actor._replace(step="upload", names=())


def _steal(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    name, rest = actor.names[0], actor.names[1:]
    assert actor.temp is not None
    content = content_of(state, name)
    gone = actor._replace(names=rest) if rest else _all_gone(actor, protocol)
    if content is None:
        yield f"finds {name} gone", state, gone, None
        return
    overwrites = name != actor.temp and content_of(state, actor.temp) is not None
    after = with_temp(with_temp(state, name, None), actor.temp, content)
    step: Step = "rename" if protocol.journals_before_stealing else "extend"
    names = () if protocol.journals_before_stealing else actor.names
    won = actor._replace(step=step, names=names)
    what = f"renames {name} to {actor.temp}"
    yield what, after, won, "overwritten" if overwrites else None
    if protocol.shortens == "may":
        yield what, after, won._replace(step="shorten"), None
        yield f"is refused to rename {name}", state, actor._replace(step="give back", names=()), None
    if state.lies_left:
        yield f"{what}, but is told it is gone", after._replace(lies_left=state.lies_left - 1), gone, None
    if not protocol.only_enoent_is_gone:
        yield f"gets an error for {name}, believes it gone", state, gone, None


def _confirm(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    if content_of(state, actor.temp) is not None:
        yield f"sees {actor.temp}: it was stolen after all", state, actor._replace(step="rename"), None
    else:
        yield f"sees no {actor.temp} either", state, _all_gone(actor, protocol), None


def _rename(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    yield from _publish(state, actor, protocol)
    if protocol.withdraws != "no":
        step: Step = "clear" if protocol.withdraws == "after removing" else "withdraw"
        yield "sees another file under the final name", state, actor._replace(step=step, names=()), None


def _publish(state: State, actor: Actor, protocol: Protocol) -> Outcome:
    content = content_of(state, actor.temp)
    if protocol.refuses_existing and state.final:
        yield "is refused: the final name exists", state, _to_done(actor), None
        return
    if not protocol.publishes_by_source:
        content = content if content is not None else dict(state.taken).get(actor.delivery, actor.delivery)
    if content is None:
        yield f"finds {actor.temp} gone", state, _mine_is_gone(actor, protocol), None
        return
    number = abs(content)
    copies = state.published[number - 1]
    published = (*state.published[: number - 1], min(2, copies + 1), *state.published[number:])
    after = state._replace(published=published, final=content if protocol.refuses_existing else 0)
    if protocol.publishes_by_source and actor.temp is not None:
        after = with_temp(after, actor.temp, None)
    wrong: Kind | None = None
    if copies:
        wrong = "double"
    elif content < 0:
        wrong = "half written"
    elif any(state.published[number:]):
        wrong = "older last"
    what = f"renames {actor.temp} to the final name: content {number} is published"
    yield what, after, _to_done(actor), wrong
    if state.lies_left:
        after = after._replace(lies_left=state.lies_left - 1)
        yield f"{what}, but it is told {actor.temp} is gone", after, _mine_is_gone(actor, protocol), wrong


def _clear(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    assert actor.temp is not None
    new = actor._replace(step="withdraw") if protocol.withdraws == "after removing" else Actor(actor.term)
    yield f"removes {actor.temp}", with_temp(state, actor.temp, None), new, None


def _mine_is_gone(actor: Actor, protocol: Protocol) -> Actor:
    # Stolen, or published by a rename that was answered wrongly: the journal knows more than this attempt does.
    if protocol.when_mine_is_gone == "forget":
        return actor._replace(step="forget", temp=None, names=())
    return Actor(actor.term)


def _remove(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    content = entries(state, protocol).get(actor.delivery)
    new = actor._replace(step="forget") if protocol.removes_before_forgetting else Actor(actor.term)
    lost: Kind | None = "lost" if content is not None and not state.published[content - 1] else None
    after = state._replace(taken=tuple(pair for pair in state.taken if pair[0] != actor.delivery))
    if protocol.takes == "no":
        after = after._replace(source=0)
    yield f"removes the source{f' (content {content})' if content else ': it is gone'}", after, new, lost


def _after_done(protocol: Protocol) -> Step:
    return "remove" if protocol.removes_before_forgetting else "forget"


# ---- transactions


def _transact(state: State, index: int, actor: Actor, protocol: Protocol) -> Iterator[Move]:
    who, key = _who(index, actor.term), actor.delivery
    record = _record_to_write(state, actor, protocol)
    what = f"{key}: journals {record}" if record else f"{key}: forgets"
    if _is_refused(state, actor.term, actor.seen, key, protocol):
        yield Move(who, f"{what}: refused, so reads again", with_actor(state, index, Actor(actor.term)))
        return
    after = write(state, key, record)
    yield Move(who, what, with_actor(after, index, _committed(actor, protocol)), _wrong_done(state, key, record))
    if state.late_left:
        sent = Transaction(actor.term, key, actor.seen, record)
        after = state._replace(late=tuple(sorted((*state.late, sent), key=repr)), late_left=state.late_left - 1)
        yield Move(
            who, f"{what}: no reply", with_actor(after, index, actor._replace(step="reread", unknown=actor.step))
        )


def _record_to_write(state: State, actor: Actor, protocol: Protocol) -> Record | None:
    if actor.step == "claim" or (actor.step == "withdraw" and protocol.withdraws != "by forgetting"):
        return Record("taken")
    if actor.step in ("intent", "extend"):
        assert actor.temp is not None
        keeps = actor.step == "extend" and protocol.shortens != "before stealing"
        before = record_of(state, actor.delivery) if keeps else None
        return Record("intent", (*(before.names if before else ()), actor.temp))
    if actor.step in ("shorten", "give back"):
        assert actor.temp is not None
        before = record_of(state, actor.delivery)
        olds = tuple(name for name in (before.names if before else ()) if name != actor.temp)
        return Record("intent", (actor.temp,) if actor.step == "shorten" else olds)
    if actor.step == "hold":
        return Record("uncertain")
    if actor.step == "give up":
        return Record("quarantined")
    return Record("done") if actor.step == "done" else None


def _committed(actor: Actor, protocol: Protocol) -> Actor:
    """Return the attempt after its transaction was applied and it knows."""
    known = actor._replace(seen=STANDS, unknown=None)
    match actor.unknown or actor.step:
        case "claim" | "shorten" as step:
            return known._replace(step="upload" if step == "claim" else "rename")
        case "intent" | "extend":
            if not protocol.journals_before_stealing:
                known = known._replace(names=())  # It is stolen already.
            return known._replace(step="look" if protocol.guard == "source" else _next_at_partner(known))
        case "done":
            return known._replace(step=_after_done(protocol))
        case "withdraw" if protocol.withdraws != "after removing":
            return known._replace(step="clear")
        case "forget" if not protocol.removes_before_forgetting:
            return known._replace(step="remove", seen=ABSENT)
        case _:
            return Actor(actor.term)


def _reread(state: State, index: int, actor: Actor, protocol: Protocol) -> Outcome:
    record = record_of(state, actor.delivery)
    if _is_applied(state, actor, record, protocol):
        yield f"reads {record or 'no record'}: was applied", state, _committed(actor, protocol), None
    elif is_current(actor.seen, record) and actor.unknown is not None:
        yield "reads it unchanged: sends again", state, actor._replace(step=actor.unknown, unknown=None), None
    else:
        yield f"reads {record or 'no record'}: lists again", state, Actor(actor.term), None


def _is_applied(state: State, actor: Actor, record: Record | None, protocol: Protocol) -> bool:
    match actor.unknown:
        case "intent" | "extend":
            return record is not None and actor.temp is not None and record.names[-1:] == (actor.temp,)
        case "shorten":
            return record is not None and record.names == (actor.temp,)
        case "give back":
            return record is not None and actor.temp not in record.names
        case "forget":
            return record is None
        case "claim" | "withdraw":
            return record == _record_to_write(state, actor._replace(step=actor.unknown), protocol)
        case _:
            states = {"hold": "uncertain", "give up": "quarantined"}
            return record is not None and record.state == states.get(actor.unknown or "", "done")


def _is_refused(state: State, term: int, seen: int, key: Delivery, protocol: Protocol) -> bool:
    if protocol.compares_term and term != state.term:
        return True
    return protocol.compares_mod and not is_current(seen, record_of(state, key))


def _wrong_done(state: State, key: Delivery, record: Record | None) -> Kind | None:
    done = record is not None and record.state == "done"
    return "done unpublished" if done and key and not state.published[key - 1] else None


_STEPS = {
    "scan": _scan,
    "take": _take,
    "upload": _upload,
    "look": _look,
    "steal": _steal,
    "confirm": _confirm,
    "rename": _rename,
    "clear": _clear,
    "remove": _remove,
    "reread": _reread,
}
