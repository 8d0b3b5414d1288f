"""What the manual says of waits, beside the program's own numbers."""

from __future__ import annotations

import re

from mft.transfers.breaker import WAITS_S
from tests.unit.deploy.commands import REPOSITORY

_ROW = re.compile(r"^\| (\w+) \| [^|]+ \| (\d+) (s|min) \| (\d+) (s|min)\b", re.MULTILINE)
_SECONDS = {"s": 1.0, "min": 60.0}
_OF_NO_PASS = {"", "file"}
"""Classes that the manual's table has no row for: an error without a class, and those of single files."""


def test_waits_after_a_failure_are_those_of_the_program() -> None:
    """Goal: the manual promises no other wait than the program makes. Method: its table against the one of the code."""
    _, _, section = (REPOSITORY / "docs" / "schedules.md").read_text("utf-8").partition("\n## Failures\n")
    rows = _ROW.findall(section.partition("\n## ")[0])
    said = {name: (int(first) * _SECONDS[a], int(most) * _SECONDS[b]) for name, first, a, most, b in rows}
    assert said == {name: waits for name, waits in WAITS_S.items() if name not in _OF_NO_PASS}
