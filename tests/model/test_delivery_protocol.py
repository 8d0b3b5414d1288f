"""The delivery protocol holds in every interleaving within the bounds, and each tempting variant is caught."""

from __future__ import annotations

import os
from typing import get_args, get_type_hints

import pytest

from mft.model import delivery
from tests.model.checker import KINDS, check
from tests.model.moves import Kind
from tests.model.protocol import AS_FIRST_DRAWN, RIGHT, Bounds, Protocol
from tests.model.searches import DEEP, QUICK
from tests.model.state import Record
from tests.model.variants import VARIANTS

DEEP_TOO = bool(os.environ.get("MFT_MODEL_DEEP"))
SEARCHES = {**QUICK, **DEEP} if DEEP_TOO else QUICK
LEFT_TO_THE_OPERATOR: frozenset[Kind] = frozenset({"stuck"})


@pytest.mark.timeout(0 if DEEP_TOO else 120)
@pytest.mark.parametrize("name", SEARCHES)
def test_right_protocol_holds(name: str) -> None:
    """Goal: exactly once, nothing lost, nothing newer harmed. Method: every state within the bounds."""
    report = check(RIGHT, SEARCHES[name])
    assert report.wrong is None, report.describe()
    assert report.states > 1000, "the bounds look at nothing"


SHORTENED = ("three terms", "two terms, three attempts", "two lost replies", "renames answered wrongly")


@pytest.mark.timeout(0 if DEEP_TOO else 120)
@pytest.mark.parametrize("name", SEARCHES if DEEP_TOO else SHORTENED)
def test_a_long_record_may_be_shortened(name: str) -> None:
    """Goal: stolen names and refused ones may leave the record at any time. Method: search with both choices open."""
    report = check(RIGHT._replace(shortens="may"), SEARCHES[name])
    assert report.wrong is None, report.describe()


@pytest.mark.timeout(0 if DEEP_TOO else 120)
@pytest.mark.parametrize("name", SEARCHES if DEEP_TOO else SHORTENED)
def test_an_intent_may_be_taken_back(name: str) -> None:
    """Goal: an overwrite rule may forbid the last rename at any time. Method: search with that choice open."""
    report = check(RIGHT._replace(withdraws="may"), SEARCHES[name])
    assert report.wrong is None, report.describe()


@pytest.mark.parametrize("name", ["three terms", "two terms, three attempts", "two lost replies"])
def test_a_record_before_the_upload_guards_as_well(name: str) -> None:
    """Goal: the other guard against a late `intent` is right too. Method: the same search."""
    report = check(RIGHT._replace(guard="record"), QUICK[name])
    assert report.wrong is None, report.describe()


def test_uncertain_is_held_and_never_doubled_or_lost() -> None:
    """Goal: where the partner sweeps temp files, `hold` sends at most once and keeps the source. Method: search."""
    bounds = Bounds(terms_max=3, attempts_max=1, actors_max=3, contents=2, partner_sweeps=True)
    report = check(RIGHT._replace(on_all_gone="hold"), bounds, KINDS - LEFT_TO_THE_OPERATOR)
    assert report.wrong is None, report.describe()


@pytest.mark.parametrize("name", VARIANTS)
def test_tempting_variant_is_caught(name: str) -> None:
    """Goal: the check can see the harm that each rule prevents. Method: leave the rule out, look for that harm."""
    variant = VARIANTS[name]
    report = check(variant.protocol, variant.bounds, frozenset({variant.kind}))
    assert report.wrong == variant.kind, f"not found: {variant.why}"
    assert report.describe().count("\n") >= len(report.trace), "the trace must tell the story"


UNJOINED = [
    (RIGHT, Bounds(terms_max=2, attempts_max=2, actors_max=3, contents=1)),
    (RIGHT, Bounds(terms_max=3, attempts_max=1, actors_max=3, contents=2)),
    (RIGHT, Bounds(terms_max=2, attempts_max=1, actors_max=2, contents=1, late_max=1)),
    (AS_FIRST_DRAWN, Bounds(terms_max=2, attempts_max=2, actors_max=3, contents=1)),
]


@pytest.mark.parametrize(("protocol", "bounds"), UNJOINED)
def test_joining_worlds_hides_nothing(protocol: Protocol, bounds: Bounds) -> None:
    """Goal: an attempt that is ended early could have done no harm. Method: the same verdict when it goes on."""
    joined, unjoined = check(protocol, bounds), check(protocol, bounds._replace(settles=False))
    assert joined.wrong == unjoined.wrong, unjoined.describe()
    assert unjoined.states > joined.states


@pytest.mark.timeout(0 if DEEP_TOO else 120)
@pytest.mark.parametrize("name", SEARCHES if DEEP_TOO else ("four terms", "a lost reply"))
def test_a_file_may_be_given_up_before_any_intent(name: str) -> None:
    """Goal: quarantine loses and doubles nothing, and what an operator has sent again arrives. Method: search.

    Both choices are open at each attempt. That an older file goes out after a newer one is then the operator's wish.
    """
    bounds = SEARCHES.get(name, Bounds(terms_max=2, attempts_max=1, actors_max=2, contents=2, late_max=1))
    kinds = KINDS - {"older last"} if bounds.contents > 1 else KINDS
    report = check(RIGHT._replace(gives_up=True), bounds, kinds)
    assert report.wrong is None, report.describe()


@pytest.mark.parametrize(
    "bounds",
    [Bounds(2, 1, 2, contents=1, late_max=1), Bounds(3, 1, 3, contents=1)],
    ids=["a lost reply", "three terms"],
)
def test_a_file_may_be_given_up_after_its_intent_was_withdrawn(bounds: Bounds) -> None:
    """Goal: what an overwrite rule forbids comes to quarantine safely. Method: search with both choices open."""
    report = check(RIGHT._replace(gives_up=True, withdraws="may"), bounds)
    assert report.wrong is None, report.describe()


def test_states_are_those_of_the_code() -> None:
    """Goal: model and code speak of the same states. Method: compare the two types."""
    assert set(get_args(get_type_hints(Record)["state"])) == set(get_args(delivery.State))
