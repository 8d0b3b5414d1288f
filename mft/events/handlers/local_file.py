"""Appends each event as one line to a file of the instance.

The file is opened anew for each batch, so that whoever rotates it need not tell us.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from mft.errors import Unavailable
from mft.events.event import Event
from mft.events.lines import json_line, text_line
from mft.model.event_handlers import LocalFileHandlerSpec


class LocalFile:
    """One log file. Its path holds no variables any more: the config's view has expanded them."""

    def __init__(self, spec: LocalFileHandlerSpec) -> None:
        self._path = Path(spec.path)
        self._line = json_line if spec.format == "json" else text_line
        self._write: _Write | None = None

    async def handle(self, events: tuple[Event, ...]) -> None:
        """Append the events; given the same ones again, go on where it failed, so that no line comes twice.

        Raises:
            Unavailable: the file cannot be written now.
        """
        if self._write is None or self._write.events is not events:
            self._write = _Write(self._path, events, b"".join(self._line(event) for event in events))
        try:
            await self._write.finished()
        except OSError as error:
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from error
        self._write = None


class _Write:
    """The writing of one batch, in a thread of its own while it lasts.

    Not in the loop's shared threads: a file on storage that hangs would take them one after the other, and name
    look-ups need them too. At most one thread of a handler hangs, and as a daemon it lets the program end.
    """

    def __init__(self, path: Path, events: tuple[Event, ...], lines: bytes) -> None:
        self.events = events
        self._path = path
        self._rest = memoryview(lines)
        self._result: asyncio.Future[OSError | None] | None = None

    async def finished(self) -> None:
        """Write what is still to be written; waits for a thread that is at it already.

        Raises:
            OSError: it failed; the next call goes on from there.
        """
        if self._result is None:
            if not self._rest:
                return
            loop = asyncio.get_running_loop()
            result = self._result = loop.create_future()
            threading.Thread(target=self._run, args=(loop, result), name=f"log:{self._path.name}", daemon=True).start()
        error = await asyncio.shield(self._result)
        self._result = None
        if error is not None:
            raise error

    def _run(self, loop: asyncio.AbstractEventLoop, result: asyncio.Future[OSError | None]) -> None:
        error: OSError | None = None
        try:
            self._append()
        except OSError as failure:
            error = failure
        try:
            loop.call_soon_threadsafe(result.set_result, error)
        except RuntimeError:
            pass  # The loop has ended meanwhile; nobody waits for the answer.

    def _append(self) -> None:
        try:
            descriptor = self._open()
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = self._open()
        try:
            while self._rest:
                self._rest = self._rest[os.write(descriptor, self._rest) :]
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
