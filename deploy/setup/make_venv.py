"""Make `.venv`, the virtual environment of this checkout, and install the project with what its development needs.

It works on a bare Debian too, where Python comes without `ensurepip`: pip is then taken from Debian's package
`python3-pip-whl`, unpacked below `.cache`. Packages come from wherever pip is configured to look. Run it again and it
does nothing, unless pyproject.toml asks for something else by then.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from debian import Apt, FetchError, describe

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / ".venv"
CACHE = REPOSITORY / ".cache"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup-stamp"
OLDEST = (3, 11)
PIP_SUITE = "bookworm"


def wanted() -> tuple[str, list[str]]:
    """Return what identifies a finished set-up, and the development requirements of pyproject.toml.

    pip reads dependency groups only since 25.1, and Debian 12's is 23.0: so they are read here.
    """
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    requirements: list[str] = settings["dependency-groups"]["dev"]
    parts = [settings["build-system"], settings["project"], requirements, sys.version, str(VENV)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(), requirements


def pip_command() -> list[str]:
    """Return the command that runs pip for `.venv`, made first if it is not there. Raises FetchError."""
    if (VENV / "bin" / "pip").exists():
        return [str(PYTHON), "-m", "pip"]
    if importlib.util.find_spec("ensurepip") is not None and importlib.util.find_spec("ensurepip._bundled") is not None:
        venv.create(VENV, with_pip=True)
        return [str(PYTHON), "-m", "pip"]
    venv.create(VENV, with_pip=False)
    print(
        "setup: this Python has no ensurepip; fetching Debian's pip (unpacked below .cache, not installed)", flush=True
    )
    root = CACHE / "pip"
    apt = Apt(CACHE / "apt-pip", PIP_SUITE, security=True)
    try:
        apt.update()
        print(f"setup: unpacked {describe(apt.fetch(['python3-pip-whl'], root))}", flush=True)
    finally:
        apt.remove()
    wheel = next(root.glob("usr/share/python-wheels/pip-*.whl"))
    # A wheel is a zip file, from which pip can run and install itself.
    command = [str(PYTHON), f"{wheel}/pip"]
    subprocess.run([*command, "install", "--quiet", "--no-index", str(wheel)], check=True)
    return [str(PYTHON), "-m", "pip"]


def install(requirements: list[str]) -> None:
    """Install this checkout, editable, and `requirements` into `.venv`. Raises FetchError, CalledProcessError."""
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    # Somebody else's virtual environment or user site must not decide what ours holds.
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_USER", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"):
        environment.pop(name, None)
    command = [*pip_command(), "install", "--quiet", "--editable", str(REPOSITORY), *requirements]
    print("setup: installing the Python packages that pyproject.toml names into .venv", flush=True)
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL)


def main() -> int:
    """Make or complete `.venv`; the exit code is 1 if that failed, with the reason."""
    if sys.version_info < OLDEST:
        print(f"setup: Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {sys.version}", file=sys.stderr)
        return 1
    stamp, requirements = wanted()
    if STAMP.is_file() and STAMP.read_text("utf-8") == stamp:
        return 0
    try:
        install(requirements)
    except (FetchError, OSError, subprocess.CalledProcessError, StopIteration) as error:
        print(f"setup: .venv could not be made: {error}", file=sys.stderr)
        return 1
    STAMP.write_text(stamp, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
