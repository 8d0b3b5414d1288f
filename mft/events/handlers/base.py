"""What each event handler can do."""

from __future__ import annotations

from typing import Protocol

from mft.events.event import Event


class Handler(Protocol):
    """Takes events in batches, oldest first."""

    async def handle(self, events: tuple[Event, ...]) -> None:
        """Do what is to be done with these events. If this fails or is cancelled, the same tuple is given again.

        Raises:
            MftError: it could not be done now.
        """
        ...
