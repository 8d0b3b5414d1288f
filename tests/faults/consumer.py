"""The partner's consumer, a program of its own: takes and deletes each file the moment it gets its final name.

    python -m tests.faults.consumer INBOX AWAY LOG [beside]

The kernel reports each name that a file gets in the folder, so that a late rename or a second copy meets no first one
and is seen. It runs before all others on the processor: a name may be used again within milliseconds, and then the
second file must not stand in for the first. With `beside` it notes what else stands in the inbox at that moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import select
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

_IN_MOVED_TO, _IN_CREATE, _IN_Q_OVERFLOW = 0x80, 0x100, 0x4000
_EVENT = struct.Struct("iIII")
_EVENTS_BYTES = 1 << 16
_PRIORITY = 10


class Taker:
    """Takes first, hashes and deletes when nothing more is to be taken. One JSON line for each file goes to the log."""

    def __init__(self, inbox: Path, away: Path, log: TextIO, *, looks_beside: bool = False) -> None:
        self._inbox = inbox
        self._away = away
        self._log = log
        self._looks_beside = looks_beside
        self._taken: deque[tuple[str, Path, float, list[int]]] = deque()
        self._count = 0

    def run(self) -> None:
        """Take files until killed."""
        libc = ctypes.CDLL(None, use_errno=True)
        watch = libc.inotify_init1(os.O_CLOEXEC)
        if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(self._inbox), _IN_MOVED_TO | _IN_CREATE) < 0:
            raise OSError(ctypes.get_errno(), "the inbox cannot be watched")
        self._say({"ready": True})
        while True:
            readable, _, _ = select.select([watch], [], [], 0 if self._taken else None)
            if readable:
                self._read(os.read(watch, _EVENTS_BYTES))
            else:
                self._finish(*self._taken.popleft())

    def _read(self, data: bytes) -> None:
        offset = 0
        while offset < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, offset)
            name = os.fsdecode(data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0"))
            offset += _EVENT.size + length
            if mask & _IN_Q_OVERFLOW:
                self._say({"overflow": True})
            elif not name.startswith("."):
                self._take(name)

    def _take(self, name: str) -> None:
        self._count += 1
        path = self._away / f"{self._count:07d}"
        try:
            (self._inbox / name).rename(path)
        except FileNotFoundError:
            self._say({"name": name, "gone": True})  # Another of that name had already taken its place.
        else:
            self._taken.append((name, path, time.time(), self._beside()))

    def _beside(self) -> list[int]:
        """Give the sizes of all files in the inbox. What is renamed meanwhile may be missed by one look, not by two."""
        sizes: dict[int, int] = {}
        for _ in range(2 if self._looks_beside else 0):
            for entry in os.scandir(self._inbox):
                with contextlib.suppress(FileNotFoundError):
                    sizes[entry.inode()] = entry.stat().st_size
        return list(sizes.values())

    def _finish(self, name: str, path: Path, at: float, beside: list[int]) -> None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = path.stat().st_size
        path.unlink()
        self._say({"name": name, "sha256": digest, "size_bytes": size_bytes, "at": at, "beside": beside})

    def _say(self, line: dict[str, object]) -> None:
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()


def main() -> None:
    """Run the program."""
    inbox, away, log = map(Path, sys.argv[1:4])
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    with log.open("a", encoding="utf-8") as lines:
        Taker(inbox, away, lines, looks_beside="beside" in sys.argv[4:]).run()


if __name__ == "__main__":
    main()
