"""The locations of a leader group as its passes find them: which are broken, who tries them, and who is told."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mft.events import catalogue
from mft.transfers.breaker import Breaker, wait_s

_BLAMED = frozenset({"transient", "partner", "credentials"})
"""Classes of error for which a location, and not one transfer, is to blame. A missing folder concerns one transfer."""


class Held(NamedTuple):
    """Why a transfer has to wait."""

    wait_s: float
    location: str
    reason: str


class Partners:
    """One `Breaker` for each location that fails. `free` is told of a location whose transfers may go on."""

    def __init__(self, emit: Callable[[int, dict[str, Any]], None], free: Callable[[str], None]) -> None:
        self._emit = emit
        self._free = free
        self._breakers: dict[str, Breaker] = {}
        self._rng = random.Random()

    def held(self, transfer: str, locations: Iterable[str], now: float) -> Held | None:
        """Say why this transfer has to wait; None: it may go."""
        waits = []
        for location in locations:
            if (breaker := self._breakers.get(location)) and (wait := breaker.waits_s(transfer, now)) > 0:
                waits.append(Held(wait, location, breaker.reason))
        return max(waits, default=None)

    def begun(self, transfer: str, locations: Iterable[str], now: float) -> None:
        """Take note of a pass: where a location is broken it is the one that tries."""
        for location in locations:
            if breaker := self._breakers.get(location):
                self._breakers[location] = breaker.probed_by(transfer, now)

    def failed(self, transfer: str, location: str, error_class: str, reason: str, now: float) -> None:
        """Take note of a transfer's pass that failed at this location."""
        if not location or error_class not in _BLAMED:
            return
        before = self._breakers.get(location, Breaker())
        wait = wait_s(error_class, before.failures + 1, self._rng)
        after = self._breakers[location] = before.failed(transfer, reason, wait, now)
        fields = {"location": location, "reason": reason, "error_class": error_class}
        if after.is_broken and not before.is_broken:
            self._emit(catalogue.PARTNER_PAUSED, {**fields, "wait_s": round(wait)})
        elif not after.is_broken:
            self._emit(catalogue.PARTNER_FAILED_WILL_RETRY, fields)

    def worked(self, locations: Iterable[str]) -> None:
        """Take note that these locations answer: whoever waits for them goes on."""
        for location in locations:
            breaker = self._breakers.pop(location, None)
            if breaker is not None and breaker.is_broken:
                self._emit(catalogue.PARTNER_RESUMED, {"location": location})
                self._free(location)

    def forget(self, locations: Iterable[str]) -> None:
        """Take note that these locations were changed: what was found before says nothing any more."""
        for location in locations:
            if self._breakers.pop(location, None) is not None:
                self._free(location)

    def given_up(self, transfer: str, now: float) -> None:
        """Take note that a transfer ended, or its pass did without an answer of these: another one may try."""
        for location, breaker in self._breakers.items():
            self._breakers[location] = breaker.given_up(transfer, now)

    def remind(self, now: float) -> None:
        """Tell people of what is broken for long."""
        for location, breaker in self._breakers.items():
            if breaker.reminds(now):
                self._breakers[location] = breaker.reminded(now)
                broken_s = round(now - (breaker.broken_at or now))
                fields = {"location": location, "reason": breaker.reason, "broken_s": broken_s}
                self._emit(catalogue.PARTNER_FAILED_WILL_RETRY, fields)
