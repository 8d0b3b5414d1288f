"""What must hold for `[leader-groups.ID]`, and what its author probably did not mean."""

from __future__ import annotations

from collections.abc import Iterator

from mft.errors import Problem
from mft.model.config import Config
from mft.model.decode import did_you_mean
from mft.model.document import path_of
from mft.model.scope import WORDS
from mft.model.transfers import DEFAULT_GROUP, leader_group_of


def check_leader_groups(config: Config) -> Iterator[Problem]:
    """Say what is wrong: an instance named twice, or a word of `run_on` that is none's name."""
    for group, spec in config.leader_groups.items():
        for n, name in enumerate(spec.preferred):
            place = path_of("leader-groups", group, "preferred", n)
            if name in WORDS or not name:
                yield Problem(place, f"expected the name of an instance, got {name!r}")
            elif name in spec.preferred[:n]:
                yield Problem(place, f"{name} is named twice; leave it once, at the place that counts")


def warn_leader_groups(config: Config) -> Iterator[Problem]:
    """Say what looks unintended: a group without transfers, or one who may not lead it."""
    run_on = {leader_group_of(id, spec): spec.run_on for id, spec in config.transfers.items()}
    for group, spec in config.leader_groups.items():
        if group not in run_on:
            if group != DEFAULT_GROUP or config.transfers:
                hint = did_you_mean(group, sorted(run_on))
                yield Problem(path_of("leader-groups", group), f"no transfer is of leader group {group!r}{hint}")
            continue
        may = run_on[group]
        for n, name in enumerate(spec.preferred):
            if isinstance(may, tuple) and name not in may:
                place = path_of("leader-groups", group, "preferred", n)
                yield Problem(place, f"the transfers of this group do not run on {name} (run_on)")
        if spec.prefer_back and not spec.preferred:
            yield Problem(path_of("leader-groups", group, "prefer_back"), "does nothing without `preferred`")
