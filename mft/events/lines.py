"""An event as one line: for people, or as JSON for programs."""

from __future__ import annotations

import json

import msgspec

from mft.events.event import Event


def text_line(event: Event) -> bytes:
    """Write time, instance, number, severity, sentence, `key=value` with JSON values. A value cannot forge a line."""
    fields = " ".join(f"{key}={_value(value)}" for key, value in event.fields.items())
    line = f"{event.timestamp} {event.instance} {event.id} {event.severity} {event.text} {fields}"
    return _one_line(line.rstrip()).encode("utf-8", "backslashreplace") + b"\n"


def json_line(event: Event) -> bytes:
    """Write one JSON object: timestamp, instance, id, name, severity, text, fields."""
    line = {
        "timestamp": event.timestamp,
        "instance": event.instance,
        "id": event.id,
        "name": event.name,
        "severity": event.severity,
        "text": event.text,
        "fields": dict(event.fields),
    }
    try:
        return msgspec.json.encode(line, enc_hook=str) + b"\n"
    except UnicodeEncodeError:
        return json.dumps(line, default=str).encode() + b"\n"  # A file name that is no UTF-8.


def _value(value: object) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except UnicodeEncodeError:  # A file name that is no UTF-8.
        return json.dumps(value, ensure_ascii=False, default=str)


def _one_line(text: str) -> str:
    """Escape what is not printable: a line break of any alphabet, and what would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
