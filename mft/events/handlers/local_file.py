"""Appends each event as one line to a file of the instance.

The file is opened anew for each batch, so that whoever rotates it need not tell us.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import json as msgspec_json

from mft.errors import Unavailable
from mft.events.event import Event
from mft.model.event_handlers import LocalFileHandlerSpec


class LocalFile:
    """One log file. Its path holds no variables any more: the config's view has expanded them."""

    def __init__(self, spec: LocalFileHandlerSpec) -> None:
        self._path = Path(spec.path)
        self._line = _json_line if spec.format == "json" else _text_line

    async def handle(self, events: Sequence[Event]) -> None:
        """Append the events.

        Raises:
            Unavailable: the file cannot be written now.
        """
        lines = b"".join(self._line(event) for event in events)
        try:
            await asyncio.to_thread(self._append, lines)
        except OSError as error:
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from error

    def _append(self, lines: bytes) -> None:
        try:
            descriptor = self._open()
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = self._open()
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _text_line(event: Event) -> bytes:
    """Write time, instance, number, severity, sentence, fields. A line break in a value cannot forge a line."""
    fields = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in event.fields.items())
    line = f"{event.timestamp} {event.instance} {event.id} {event.severity} {_one_line(event.text)} {fields}"
    return line.rstrip().encode("utf-8", "backslashreplace") + b"\n"


def _json_line(event: Event) -> bytes:
    fields = dict(event.fields)
    line = {"timestamp": event.timestamp, "instance": event.instance, "id": event.id, "name": event.name}
    line |= {"severity": event.severity, "text": event.text}
    try:
        return msgspec_json.encode({**line, "fields": fields}) + b"\n"
    except UnicodeEncodeError:
        # A file name that is no UTF-8.
        return json.dumps({**line, "fields": fields}).encode() + b"\n"


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
