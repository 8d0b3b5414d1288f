"""A queue stays bounded and gives up the least important first."""

from __future__ import annotations

from mft.events.event import Event, Severity
from mft.events.queue import BATCH_EVENTS_MAX, EventQueue


def event(number: int, severity: Severity = "info") -> Event:
    return Event(id=number, name="x", severity=severity, at=0.0, instance="n", text="", fields={})


async def test_a_full_queue_drops_the_oldest_informational_event() -> None:
    """Goal: what matters survives a flood. Method: fill a queue of three beyond its bound."""
    queue = EventQueue(3)
    for number, severity in [(1, "error"), (2, "info"), (3, "info"), (4, "warning"), (5, "info")]:
        queue.put(event(number, severity))  # type: ignore[arg-type]
    assert [each.id for each in await queue.batch()] == [1, 4, 5]
    assert queue.take_lost() == 2
    assert queue.take_lost() == 0


async def test_information_never_displaces_a_warning() -> None:
    """Goal: as above. Method: a queue full of warnings meets information, then an error."""
    queue = EventQueue(2)
    queue.put(event(1, "warning"))
    queue.put(event(2, "warning"))
    queue.put(event(3, "info"))
    queue.put(event(4, "error"))
    assert [each.id for each in await queue.batch()] == [2, 4]
    assert queue.take_lost() == 2


async def test_a_batch_stays_until_it_is_settled() -> None:
    """Goal: a failed handler is given exactly the same again. Method: take twice, with a flood in between."""
    queue = EventQueue(2)
    queue.put(event(1))
    first = await queue.batch()
    for number in range(2, 6):
        queue.put(event(number))
    assert await queue.batch() is first
    queue.settled()
    assert [each.id for each in await queue.batch()] == [4, 5]


async def test_emptied_waits_for_the_batch_in_hand() -> None:
    """Goal: a flush at the end loses nothing. Method: ask before and after the last batch is settled."""
    queue = EventQueue(2 * BATCH_EVENTS_MAX)
    for number in range(BATCH_EVENTS_MAX + 1):
        queue.put(event(number))
    await queue.batch()
    queue.settled()
    assert len(await queue.batch()) == 1
    queue.settled(lost=True)
    await queue.emptied()
    assert queue.take_lost() == 1
