"""Build `dist/`: the wheel, and one executable file for each program, which needs nothing but Python beside it.

The files are made by pex from the versions that `.venv` has, which the tests ran with. At its first start such a file
unpacks itself below `$PEX_ROOT` (by default in the user's cache folder), so that the processes a program starts run
from there as from any virtual environment. Each file is started once from another folder before this script is content.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DIST = REPOSITORY / "dist"
BUILD = REPOSITORY / "build"
WHEELS = BUILD / "wheels"
START_LIMIT_S = 120
"""The first start unpacks some tens of megabytes and makes a virtual environment."""


def run(*command: str | Path) -> str:
    """Run a command and return what it prints; on failure everything it said goes to stderr. Raises SystemExit."""
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit(f"dist: {' '.join(map(str, command))} failed with {done.returncode}")
    return done.stdout


def build_wheels() -> Path:
    """Build this project's wheel into dist/ and get those of all it needs into build/wheels; return ours."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    shutil.rmtree(BUILD, ignore_errors=True)  # What an earlier build copied there would end up in the wheel again.
    shutil.rmtree(DIST, ignore_errors=True)
    run(*pip, "wheel", "--no-deps", "--wheel-dir", DIST, REPOSITORY)
    shutil.rmtree(BUILD, ignore_errors=True)
    WHEELS.mkdir(parents=True)
    wheel = next(DIST.glob("*.whl"))
    constraints = BUILD / "constraints.txt"
    constraints.write_text(run(*pip, "freeze", "--exclude-editable"), "utf-8")
    run(*pip, "wheel", "--wheel-dir", WHEELS, "--constraint", constraints, wheel)
    return wheel


def build_program(name: str, wheel: Path) -> Path:
    """Build dist/`name` from the wheels at hand; return its path."""
    program = DIST / name
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    run(
        *(sys.executable, "-m", "pex", wheel, "--script", name, "--output-file", program),
        *("--no-pypi", "--find-links", WHEELS, "--pex-root", BUILD / "pex"),
        # Unpacked as a virtual environment: `sys.executable -m mft.…` then works for the processes it starts.
        *("--venv", "prepend", "--python-shebang", f"/usr/bin/env python{version}"),
    )
    return program


def check_program(program: Path) -> None:
    """Start the program as a user would: elsewhere, without this checkout's environment. Raises SystemExit."""
    with tempfile.TemporaryDirectory() as elsewhere:
        copy = Path(elsewhere) / program.name
        shutil.copy(program, copy)
        environment = {"PATH": os.defpath, "HOME": elsewhere, "PEX_ROOT": f"{elsewhere}/pex", "LANG": "C.UTF-8"}
        # The interpreter that this was built for must be found, and be it by another name than Debian's.
        environment["PATH"] += f":{Path(sys.executable).resolve().parent}"
        done = subprocess.run(
            [copy, "--help"],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            timeout=START_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    if done.returncode != 0 or program.name.removeprefix("mft-") not in done.stdout:
        raise SystemExit(f"dist: {program.name} --help failed with {done.returncode}:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Build and check everything."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    print("dist: building the wheel, and getting those of the packages it needs", flush=True)
    wheel = build_wheels()
    print(f"dist: {wheel.relative_to(REPOSITORY)}", flush=True)
    for name in settings["project"]["scripts"]:
        program = build_program(name, wheel)
        check_program(program)
        print(f"dist: dist/{name} ({program.stat().st_size / 1e6:.1f} MB), started elsewhere: it runs", flush=True)


if __name__ == "__main__":
    main()
