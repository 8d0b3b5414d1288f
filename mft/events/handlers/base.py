"""What each event handler can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mft.events.event import Event


class Handler(Protocol):
    """Takes events in batches, oldest first."""

    async def handle(self, events: Sequence[Event]) -> None:
        """Do what is to be done with these events; if this fails, they are given again.

        Raises:
            MftError: it could not be done now.
        """
        ...
