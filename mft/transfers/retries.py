"""When a file that failed is tried again. In the worker's memory: a new leader begins to count anew, which is safe."""

from __future__ import annotations

import random
from typing import NamedTuple

from mft.model.delivery import Kept
from mft.model.transfer_parts import RetrySpec

_FILES_MAX = 20_000
"""Files remembered of one transfer. Of more, those that are due first are forgotten, and so are due at once."""


class _Waiting(NamedTuple):
    tries: int
    counted: int
    due: float
    source: Kept | None
    began_at: float | None


class Retries:
    """The files of one transfer that failed, and when each is due. Shape: key of a delivery → what is known of it.

    The key is the delivery's id, or the path of a source that is kept; of that one, a changed source begins anew.
    Times are on the clock of `now`, in seconds.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._draw = (rng or random.Random()).uniform

    def wait_s(self, key: str, now: float, source: Kept | None = None) -> float:
        """Say how long the file is not to be tried yet; 0 if it is due."""
        waiting = self._waiting.get(key)
        if waiting is None or waiting.source != source:
            return 0.0
        return max(0.0, waiting.due - now)

    def began_at(self, key: str, source: Kept | None = None) -> float | None:
        """Say by which time the file was meant when it first failed, as `failed` was told; None: it did not."""
        waiting = self._waiting.get(key)
        return None if waiting is None or waiting.source != source else waiting.began_at

    def failed(
        self,
        key: str,
        now: float,
        retry: RetrySpec,
        *,
        counts: bool,
        source: Kept | None = None,
        began_at: float | None = None,
    ) -> int:
        """Take note of a failure. Returns how many by now count against the file.

        `began_at` is in seconds since 1970; that of the first failure is kept.
        """
        before = self._waiting.pop(key, None)
        if before is None or before.source != source:
            before = _Waiting(0, 0, 0.0, source, began_at)
        wait_s = min(retry.most_s, retry.first_s * 2.0 ** min(before.tries, 60))
        due = now + self._draw(wait_s / 2, wait_s)
        after = _Waiting(before.tries + 1, before.counted + counts, due, source, before.began_at)
        if len(self._waiting) >= _FILES_MAX:
            for forgotten in sorted(self._waiting, key=lambda each: self._waiting[each].due)[: _FILES_MAX // 10]:
                del self._waiting[forgotten]
        self._waiting[key] = after
        return after.counted

    def forget(self, key: str) -> None:
        """Take note that nothing is to be tried any more: it arrived, or was put aside."""
        self._waiting.pop(key, None)
