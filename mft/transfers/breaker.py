"""A location that fails for one transfer fails for all: one tries it, with growing waits, the others wait. Pure.

    closed      all is well; failures in a row are counted
    open        nobody may, until `probe_at`
    half-open   one transfer tries; the others wait for what comes of it

It heals by itself, and whoever asks by hand tries at once. Times are on CLOCK_BOOTTIME.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

FAILURES_MAX = 3
"""Passes in a row that a location may fail for before all of its transfers wait."""
PROBE_S_MAX = 120.0
"""After this another one may try as well: the first may be busy with a long file, or wait for something else."""
REMIND_S = 3600.0
"""How often people are told of a location that is still broken."""

ErrorClass = Literal["", "transient", "partner", "credentials", "file", "configuration"]

WAITS_S: Mapping[str, tuple[float, float]] = {
    "": (1.0, 60.0),
    "transient": (1.0, 60.0),
    # Not longer: when it is back, nobody accepts to wait for minutes, and one attempt for all of a group does no harm.
    "partner": (5.0, 45.0),
    # So rare that no server locks the account for it.
    "credentials": (60.0, 900.0),
    "file": (1.0, 60.0),
    # Storage that is not mounted looks like this too; whoever mounts it wants to see files go.
    "configuration": (10.0, 60.0),
}
"""Class of an error → first and longest wait before the next attempt, in seconds."""


def wait_s(error_class: str, failures: int, rng: random.Random) -> float:
    """Say how long to wait after so many failures in a row: doubled from the first to the longest, less some jitter.

    At least half of it, so that an account is not locked by chance.
    """
    first, most = WAITS_S.get(error_class, WAITS_S[""])
    ceiling = min(most, first * 2.0 ** min(max(failures, 1) - 1, 20))
    return rng.uniform(ceiling / 2, ceiling)


class Breaker(Struct, frozen=True, kw_only=True):
    """One location, as the transfers of a leader group have found it."""

    failures: int = 0
    """In a row, of any transfer."""
    broken_at: float | None = None
    """Since when nobody may; None: closed."""
    probe_at: float = 0.0
    prober: str = ""
    """Transfer that tries now; with one it is half-open."""
    probed_at: float = 0.0
    reminded_at: float = 0.0
    reason: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether it is open or half-open."""
        return self.broken_at is not None

    def waits_s(self, transfer: str, now: float) -> float:
        """Say how long this transfer has to wait; 0: it may go, and is then the one that tries."""
        if not self.is_broken or self.prober == transfer:
            return 0.0
        if self.prober and now < self.probed_at + PROBE_S_MAX:
            return self.probed_at + PROBE_S_MAX - now
        return max(0.0, self.probe_at - now)

    def probed_by(self, transfer: str, now: float) -> Breaker:
        """Note who tries."""
        return replace(self, prober=transfer, probed_at=now) if self.is_broken else self

    def failed(self, transfer: str, reason: str, wait_s: float, now: float) -> Breaker:
        """Note that a pass of this transfer failed at this location; the next attempt comes after `wait_s`."""
        if self.is_broken and self.prober != transfer:
            return self  # It was under way when others failed: a hundred of them are one outage, and no longer one.
        failures = self.failures + 1
        if not self.is_broken and failures < FAILURES_MAX:
            return replace(self, failures=failures, reason=reason)
        return replace(
            self,
            failures=failures,
            broken_at=now if self.broken_at is None else self.broken_at,
            reminded_at=now if self.broken_at is None else self.reminded_at,
            probe_at=now + wait_s,
            prober="",
            reason=reason,
        )

    def given_up(self, transfer: str, now: float) -> Breaker:
        """Note that the one that tried ended without an answer: another may at once."""
        return replace(self, prober="", probe_at=now) if self.prober == transfer else self

    def reminds(self, now: float) -> bool:
        """Say whether people are to be told that it is still broken."""
        return self.is_broken and now >= self.reminded_at + REMIND_S

    def reminded(self, now: float) -> Breaker:
        """Note that they were told."""
        return replace(self, reminded_at=now)
