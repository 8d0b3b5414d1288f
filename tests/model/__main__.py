"""`python -m tests.model [--deep] [--trace NAME]`: search, and say how much was looked at."""

from __future__ import annotations

import argparse
import sys
import time

from tests.model.checker import check
from tests.model.protocol import RIGHT, Bounds, Protocol
from tests.model.searches import DEEP, QUICK
from tests.model.variants import VARIANTS


def main() -> int:
    """Run the program; the exit code is 1 if the protocol does not hold or a variant is not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--deep", action="store_true", help="wider bounds: several minutes, some GiB of memory")
    parser.add_argument("--trace", choices=sorted(VARIANTS), metavar="NAME", help="tell how one variant goes wrong")
    options = parser.parse_args()
    if options.trace:
        variant = VARIANTS[options.trace]
        print(check(variant.protocol, variant.bounds, frozenset({variant.kind})).describe())
        print(f"       {variant.why}")
        return 0
    searches = {**QUICK, **DEEP} if options.deep else QUICK
    right = [_search(name, RIGHT, bounds) for name, bounds in searches.items()]
    caught = [_caught(name) for name in VARIANTS]
    return 0 if all(right) and all(caught) else 1


def _search(name: str, protocol: Protocol, bounds: Bounds) -> bool:
    began = time.monotonic()
    report = check(protocol, bounds)
    print(f"{name:52} {report.describe()} ({time.monotonic() - began:.1f} s)", flush=True)
    return report.wrong is None


def _caught(name: str) -> bool:
    variant = VARIANTS[name]
    report = check(variant.protocol, variant.bounds, frozenset({variant.kind}))
    found = f"{report.wrong} in {len(report.trace)} moves" if report.wrong else "NOT CAUGHT"
    print(f"{name:52} {found} ({report.states:,} states)", flush=True)
    return report.wrong is not None


if __name__ == "__main__":
    sys.exit(main())
