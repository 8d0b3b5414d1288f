"""The manual's page of events, made from the catalogue: `python -m mft.events.manual > docs/events.md`."""

from __future__ import annotations

import sys
from typing import get_args

from mft.events.catalogue import CATALOGUE, Group

_HEAD = """# Events

Every outcome is an event. Its number never changes its meaning; 70000 and above are this program's own, the others mean
what they mean in SFTPPlus. A handler of type `local-file` writes each event as one line:

    2026-11-22T18:00:00.123456+00:00 node-a 60012 info Transfer out: /in/a.csv delivered, 12 bytes. transfer="out" …

(time in UTC, instance, number, severity, text, then the fields, their values as JSON), or with `format = "json"` as
one object with `timestamp`, `instance`, `id`, `name`, `severity`, `text` and `fields`. A file may be rotated at any
time: it is opened anew for each write. While it cannot be written, events wait; when too many wait, the oldest
informational ones go first, and 70005 says how many.

A login that fails is answered to the client in one way only. Whether the account is unknown (20021) or the password is
wrong (20142) is told here alone.

This page is made from the program's catalogue by `python -m mft.events.manual`.
"""


def page() -> str:
    """Write the page: one table for each group, in the order of numbers."""
    parts = [_HEAD]
    for group in get_args(Group):
        parts.append(f"\n## {group.capitalize()}\n\n| number | name | severity | text |\n| --- | --- | --- | --- |\n")
        for id, entry in sorted(CATALOGUE.items()):
            if entry.group == group:
                parts.append(f"| {id} | {entry.name} | {entry.severity} | {entry.text} |\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
