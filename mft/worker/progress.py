"""What the agent is told of a run under way: how far its files are, rarely enough to cost nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from mft.worker.frames import FileProgress, Progress

_EVERY_S = 0.5
_FILE_BYTES_LEAST = 1024 * 1024
_FILE_S_LEAST = 1.0
"""Smaller files that are done sooner are not named, only counted."""
_FILES_MAX = 256


class _File:
    """One file on its way."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.name = ""
        self.bytes_done = self.size_bytes = 0


class RunProgress:
    """Gathers what the deliveries of one run tell, and sends the newest state of all of them at most twice a second."""

    def __init__(self, run: int, send: Callable[[Progress], None], counts: Callable[[], tuple[int, int]]) -> None:
        """`counts` gives how many files were delivered and how many failed."""
        self._run = run
        self._send = send
        self._counts = counts
        self._files: dict[str, _File] = {}
        self._bytes_finished = 0
        self._sent = 0.0

    def __call__(self, delivery: str, name: str, bytes_done: int, size_bytes: int) -> None:
        """Take note of one file; see `mft.transfers.context.Progress`."""
        now = time.monotonic()
        if bytes_done >= size_bytes:
            self._files.pop(delivery, None)
            self._bytes_finished += bytes_done
        else:
            file = self._files.get(delivery)
            if file is None:
                if len(self._files) >= _FILES_MAX:  # Those that failed stay until the run is over.
                    del self._files[next(iter(self._files))]
                file = self._files[delivery] = _File(now)
            file.name, file.bytes_done, file.size_bytes = name, bytes_done, size_bytes
        if now - self._sent >= _EVERY_S:
            self._sent = now
            self._tell(now)

    def _tell(self, now: float) -> None:
        delivered, failed = self._counts()
        self._send(
            Progress(
                run=self._run,
                delivered=delivered,
                failed=failed,
                bytes_done=self._bytes_finished + sum(file.bytes_done for file in self._files.values()),
                files=tuple(
                    FileProgress(delivery, file.name, file.bytes_done, file.size_bytes)
                    for delivery, file in self._files.items()
                    if file.size_bytes >= _FILE_BYTES_LEAST or now - file.began >= _FILE_S_LEAST
                ),
            )
        )
