"""The furthest that any answer was, and what an answer from before it may mean."""

from __future__ import annotations

import enum

from mft.etcd.records import Header


class Standing(enum.Enum):
    """How an answer compares with the furthest one seen."""

    FINE = "fine"
    BEHIND = "behind"  # a lower revision: a member that is catching up, or a store restored from a backup
    STALE = "stale"  # a lower raft term: a member cut off from the others, or a restored store
    OTHER = "other"  # another cluster: a wrong endpoint, or a store built anew


class HighWater:
    """Remembers cluster, revision and raft term of the furthest answer."""

    def __init__(self, floor_revision: int = 0) -> None:
        self._cluster_id = 0
        self._revision = floor_revision
        self._raft_term = 0

    def judge(self, header: Header) -> Standing:
        """Compare an answer with what was seen; change nothing."""
        if self._cluster_id not in {0, header.cluster_id}:
            return Standing.OTHER
        if header.raft_term < self._raft_term:
            return Standing.STALE
        return Standing.BEHIND if header.revision < self._revision else Standing.FINE

    def note(self, header: Header) -> None:
        """Remember an answer, as far as it is further than those before."""
        self._cluster_id = header.cluster_id
        self._revision = max(self._revision, header.revision)
        self._raft_term = max(self._raft_term, header.raft_term)

    def restart(self) -> None:
        """Forget everything: it was confirmed that the store went back."""
        self._cluster_id = self._revision = self._raft_term = 0
