"""What the consumer has noted: its log, read on from where the last look ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.faults.verdict import Took


class Notes:
    """The consumer's log. It grows to tens of thousands of lines, and is asked many times a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.contents: set[str] = set()
        """The hash of each content that was taken."""
        self._read_bytes = 0
        self._took: list[Took] = []
        self._decode = msgspec.json.Decoder(Took).decode

    def read(self) -> Sequence[Took]:
        """Return all whole lines that there are by now."""
        if self.path.exists() and self.path.stat().st_size > self._read_bytes:
            with self.path.open("rb") as file:
                file.seek(self._read_bytes)
                whole, end, _ = file.read().rpartition(b"\n")
            self._read_bytes += len(whole) + len(end)
            for line in whole.splitlines():
                self._took.append(self._decode(line))
                self.contents.add(self._took[-1].sha256)
        return self._took
