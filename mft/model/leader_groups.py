"""`[leader-groups.ID]`: which instance is to lead the transfers of a group, and when a leader gives way."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from mft.model.spec import Seconds, Spec


class LeaderGroupSpec(Spec, frozen=True, kw_only=True):
    """How the leader of a group is chosen. ID is what transfers say as `leader_group`, or `default`.

    A group needs no such table. What is said here holds at once, without a new election.
    """

    description: str = ""
    preferred: tuple[str, ...] = ()
    """Names of instances, best first. Of the candidates that are there at an election the best one leads; those that
    are not named are equal and come last."""
    prefer_back: bool = False
    """Also end the leadership of an instance once a better one has been there for a minute and reaches the partners.
    Off: who leads goes on until it ends by itself, so that a node that comes and goes interrupts nothing."""
    yield_after_s: Annotated[float, Meta(ge=0, le=86400)] = 30.0
    """Seconds for which a partner must have failed the leader before it asks the other candidates whether they reach
    it. If one reaches more of the group's partners, that one leads. 0: never."""
    yield_again_s: Seconds = 300.0
    """Seconds after such a change during which the group does not change its leader for that reason again."""


NO_LEADER_GROUP = LeaderGroupSpec()
"""What holds for a group without a table."""
