"""How long `make test` takes: `python -m bench.suite [--quick] [--json]`. Set-up and fetching are done before."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from bench.report import Figure, report


def main() -> int:
    """Run the tests once and report; with --quick only the checks and unit tests, and then no bound is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only tests/unit; the bound is then not measured")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    arguments = parser.parse_args()
    subprocess.run(["make", "setup"], check=True, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    command = ["make", "test", *(["ARGS=tests/unit"] if arguments.quick else [])]
    passed = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0
    took = time.monotonic() - began
    measured = {"make_test_s": took} if passed and not arguments.quick else {}
    return report("suite", {"make_test_s": Figure(took, None, "s")}, measured, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
