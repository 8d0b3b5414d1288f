"""What instances say of themselves in etcd. Pure; the agent's presence.py writes it.

nodes/<name>/alive   leased: gone a TTL after the instance
nodes/<name>/ack     not leased: which config version it has, also while it is away
elect/<group>/<id>   leased: a candidate for a group's leadership
probe/<group>/…      leased: who of the candidates reaches which of the group's partners
"""

from __future__ import annotations

from msgspec import Struct, json

from mft.model.scope import Role


class Alive(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One running instance."""

    name: str
    role: Role
    address: str
    """Host name of the machine it runs on."""
    boot: str
    """Random id of this start: two instances under one name differ in it."""
    program: str
    """Program version."""
    pid: int
    started_at: float
    """Seconds since 1970."""
    ready: bool = False
    """Whether it serves what the config wants of it."""
    problems: dict[str, str] = {}
    """Component (`services.main`) → why it does not run."""


class Ack(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the newest config version on this instance."""

    applied: int = 0
    """Version in use; 0 for none."""
    rejected: int = 0
    """Newer version that cannot be used here; 0 for none."""
    reason: str = ""
    """Why it was rejected."""
    stale: bool = False
    """It serves an older version than it once had, because newer ones on its disk are damaged."""
    at: float = 0.0
    """Seconds since 1970."""
    components: dict[str, str] = {}
    """Component (`services.main`) → `running`, or why not."""


class Candidate(Struct, frozen=True, kw_only=True):
    """Value of an election key."""

    name: str
    boot: str


class Ask(Struct, frozen=True, kw_only=True):
    """Value of `probe/<group>/ask`: the leader asks all candidates to try these locations."""

    id: str
    """Random; answers repeat it."""
    by: str
    locations: tuple[str, ...]


class Answer(Struct, frozen=True, kw_only=True):
    """Value of `probe/<group>/answers/<node>`."""

    id: str
    """Of the ask."""
    reachable: tuple[str, ...]


class Yielded(Struct, frozen=True, kw_only=True):
    """Value of `probe/<group>/last`: a leader gave way, because others reach more of the group's partners.

    While it stands no leader of the group gives way again, and at elections those that reach more are better.
    """

    by: str
    to: str
    reason: str
    reached: dict[str, int]
    """Candidate → how many of the group's partners it reached."""


def encode(value: Alive | Ack | Candidate | Ask | Answer | Yielded) -> bytes:
    """Encode for etcd."""
    return json.encode(value)


decode_alive = json.Decoder(Alive).decode
decode_ack = json.Decoder(Ack).decode
decode_candidate = json.Decoder(Candidate).decode
decode_ask = json.Decoder(Ask).decode
decode_answer = json.Decoder(Answer).decode
decode_yielded = json.Decoder(Yielded).decode
