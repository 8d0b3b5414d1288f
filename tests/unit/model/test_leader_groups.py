"""What is said of leader groups: mistakes are refused, what is probably not meant is a warning."""

from __future__ import annotations

from typing import Any

import pytest

from mft.model.check import judge
from mft.model.leader_groups import LeaderGroupSpec
from tests.unit.model.samples import good


def _found(groups: dict[str, Any], **transfer: Any) -> tuple[list[str], list[str]]:
    document = good()
    document["transfers"]["out"] |= {"leader_group": "banks", **transfer}
    document["leader-groups"] = groups
    config, (problems, warnings) = judge(document)
    assert problems or set(config.leader_groups) == set(groups)
    return [problem.path for problem in problems], [warning.path for warning in warnings]


@pytest.mark.parametrize(
    ("preferred", "place"),
    [
        (["n1", "n2", "n1"], "leader-groups.banks.preferred[2]"),
        (["nodes"], "leader-groups.banks.preferred[0]"),
        ([""], "leader-groups.banks.preferred[0]"),
    ],
    ids=["twice", "word", "empty"],
)
def test_a_mistake_is_a_problem_at_its_place(preferred: list[str], place: str) -> None:
    """Goal: nobody is named twice, and a word of run_on is no name. Method: one such list each."""
    assert _found({"banks": {"preferred": preferred}}) == ([place], [])


def test_what_is_probably_not_meant_is_a_warning() -> None:
    """Goal: a group that has no transfers, and one who may not lead, are said. Method: a misspelt group; run_on."""
    assert _found({"bank": {"preferred": ["n1"]}}) == ([], ["leader-groups.bank"])
    groups = {"banks": {"preferred": ["n1", "n2"]}}
    assert _found(groups, run_on=["n1"]) == ([], ["leader-groups.banks.preferred[1]"])
    assert _found({"banks": {"prefer_back": True}}) == ([], ["leader-groups.banks.prefer_back"])


def test_a_group_without_a_word_yields_and_prefers_nobody() -> None:
    """Goal: what holds without a table. Method: the defaults."""
    spec = LeaderGroupSpec()
    assert (spec.preferred, spec.prefer_back, spec.yield_after_s, spec.yield_again_s) == ((), False, 30.0, 300.0)
