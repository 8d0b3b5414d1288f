"""What operators see of a transfer at its leader, and the request to let a pass come to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

TransferState = Literal["idle", "running", "waiting", "paused", "outside-window", "broken", "disabled"]
"""What a transfer does now.

    idle             all is well, the next pass is due at `next_pass_at`; without one `reason` says what it waits for
    running          a pass is under way
    waiting          the last pass failed, or files of it did; it is made again at `next_pass_at`
    paused           by an operator
    outside-window   none of its windows is open
    broken           a location of it fails for all; one transfer at a time tries it
    disabled         `enabled = false`: no leader has it, so only who knows the whole config says so
"""


class TransferStatus(Struct, frozen=True, kw_only=True):
    """One transfer as its leader sees it. Counts are of this leadership; times are seconds since 1970."""

    transfer: str
    state: TransferState
    next_pass_at: float | None = None
    last_pass_at: float | None = None
    """When the newest pass began."""
    last_error: str = ""
    """Why the newest pass failed; empty if it did not."""
    error_class: str = ""
    """`transient`, `partner`, `credentials`, `file`, `configuration`, or empty."""
    location: str = ""
    """The location at which it failed; empty if that is not known, or at none."""
    failures: int = 0
    """Passes in a row that failed."""
    delivered: int = 0
    failed: int = 0
    """Files that failed, as often as they did."""
    open: int = 0
    """Deliveries under way: `intent` or `done` in the journal."""
    held: int = 0
    """Deliveries that are uncertain and wait for the operator."""
    quarantined: int = 0
    missed: int = 0
    """Times of `cron` that had no run of their own, since the schedule was set."""
    reason: str = ""
    """Why it is in this state, for people: who paused it, which location is broken, what a batch waits for."""


class Ending:
    """Asks one pass to take nothing new and end when what is begun is finished."""

    def __init__(self) -> None:
        self.asked = False
        self._tell: Callable[[], None] = lambda: None

    def ask(self) -> None:
        """Ask for it; a pass that has not begun yet then begins that way."""
        if not self.asked:
            self.asked = True
            self._tell()

    def on_ask(self, tell: Callable[[], None]) -> None:
        """Say how the pass under way is told."""
        self._tell = tell
