"""Since when a location fails, from what passes came to."""

from __future__ import annotations

from mft.agent.troubles import Troubles


def test_a_location_that_goes_on_failing() -> None:
    """Goal: the time counts from the first failed pass on. Method: passes that fail, each begun later."""
    troubles = Troubles()
    troubles.worked({"here", "p"}, 90.0)
    troubles.failed({"p"}, 100.0, 101.0)
    troubles.failed({"p"}, 110.0, 125.0)
    assert troubles.failing(129.0, 30.0) == frozenset()
    assert troubles.failing(130.0, 30.0) == {"p"}
    troubles.worked({"p"}, 131.0)
    assert troubles.failing(200.0, 30.0) == frozenset()


def test_a_long_pass_that_fails_at_its_end() -> None:
    """Goal: a short outage at the end of an hour's upload is no long one, one noticed late is no short one."""
    troubles = Troubles()
    troubles.failed({"p"}, 0.0, 3600.0)
    assert troubles.failing(3609.0, 30.0) == frozenset()
    assert troubles.failing(3610.0, 30.0) == {"p"}


def test_what_another_pass_reached_meanwhile_counts() -> None:
    """Goal: a pass that began before another one succeeded fails from then on only."""
    troubles = Troubles()
    troubles.worked({"p"}, 10.0)
    troubles.failed({"p"}, 5.0, 12.0)
    assert troubles.failing(39.0, 30.0) == frozenset()
    assert troubles.failing(40.0, 30.0) == {"p"}


def test_what_works_needs_no_look() -> None:
    """Goal: only what was reached lately and does not fail now is left out."""
    troubles = Troubles()
    troubles.worked({"a", "b", "c"}, 10.0)
    troubles.worked({"a"}, 100.0)
    troubles.failed({"b"}, 99.0, 100.0)
    assert troubles.working(120.0, 30.0) == {"a"}
