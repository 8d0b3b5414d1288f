"""What every benchmark prints: its figures as a table, whether its bounds hold, and all of it as one JSON line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

BOUNDS = Path(__file__).with_name("bounds.toml")


class Figure(NamedTuple):
    """One thing measured: ours, the peer's in the same run (None: there is none), and the unit."""

    ours: float
    peer: float | None
    unit: str


def holds(program: str, measured: Mapping[str, float]) -> dict[str, bool]:
    """Say of each bound of this program whether it holds; one that was not measured does not."""
    bounds = tomllib.loads(BOUNDS.read_text("utf-8"))[program]
    return {
        name: name in measured
        and bound.get("least", float("-inf")) <= measured[name] <= bound.get("most", float("inf"))
        for name, bound in bounds.items()
    }


def report(program: str, figures: Mapping[str, Figure], measured: Mapping[str, float], *, as_json: bool) -> int:
    """Print the result; return the exit status, 1 if a bound does not hold."""
    held = holds(program, measured)
    if not as_json:
        for name, figure in figures.items():
            peer = "" if figure.peer is None else f"  (peer {figure.peer:.3g})"
            print(f"{name:32} {figure.ours:10.3f} {figure.unit}{peer}")
        for name, is_held in held.items():
            print(f"{'holds' if is_held else 'DOES NOT HOLD':14} {program}.{name}")
    rounded = {name: [round(figure.ours, 4), figure.peer, figure.unit] for name, figure in figures.items()}
    print(json.dumps({"figures": rounded, "holds": held}))
    return 0 if all(held.values()) else 1
