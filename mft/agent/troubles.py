"""Since when which locations fail the passes of a leader. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Iterable

_NOTICED_LATE_S_MAX = 20.0
"""How long a connection may have been dead before a pass that used it fails. A pass may be much longer than that, and a
short outage at its end must not look like a long one."""


class Troubles:
    """What the passes of one leadership came to, by location."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._worked: dict[str, float] = {}

    def worked(self, locations: Iterable[str], began: float) -> None:
        """Take note of a pass that began then and reached these locations."""
        for id in locations:
            self._since.pop(id, None)
            self._worked[id] = max(began, self._worked.get(id, began))

    def failed(self, locations: Iterable[str], began: float, now: float) -> None:
        """Take note of a pass that failed at one of these locations: they fail since it began, or since shortly ago."""
        for id in locations:
            self._since.setdefault(id, max(began, now - _NOTICED_LATE_S_MAX, self._worked.get(id, began)))

    def failing(self, now: float, for_s: float) -> frozenset[str]:
        """Name the locations that have failed for so long, and not worked since."""
        return frozenset(id for id, since in self._since.items() if now - since >= for_s)

    def working(self, now: float, within_s: float) -> frozenset[str]:
        """Name the locations that do not fail and were reached that recently: they need no further look."""
        return frozenset(id for id, at in self._worked.items() if id not in self._since and now - at <= within_s)
