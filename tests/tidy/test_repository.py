"""House rules for the repository as a whole: what is generated is current, what is named may be named."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tests.tidy.sources import REPOSITORY, repository_files

# Written in two parts, so that this file does not name them either.
REGISTRIES = tuple(
    ".".join(parts).encode()
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("crates", "io"))
)
CONFLICT = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
FILE_BYTES_MAX = 1024 * 1024


def test_generated_stubs_are_what_the_proto_files_say() -> None:
    """Goal: nobody edits generated code, nobody forgets to generate. Method: generate anew and compare."""
    script = REPOSITORY / "deploy" / "setup" / "generate_proto.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run `make proto`:\n{done.stdout}{done.stderr}"


def test_no_package_registry_is_named() -> None:
    """Goal: where packages come from is the user's configuration. Method: search every file for registries' hosts."""
    contents = ((path, path.read_bytes().lower()) for path in repository_files())
    named = [f"{path}: {host.decode()}" for path, data in contents for host in REGISTRIES if host in data]
    assert not named, named


def test_no_file_is_out_of_place() -> None:
    """Goal: neither large files nor unresolved conflicts are committed. Method: look at every file."""
    found = [
        f"{path}: larger than {FILE_BYTES_MAX} bytes"
        for path in repository_files()
        if path.stat().st_size > FILE_BYTES_MAX
    ]
    found += [f"{path}: conflict markers" for path in repository_files() if CONFLICT.search(path.read_bytes())]
    assert not found, found


def test_programs_launchers_and_scripts_are_the_same() -> None:
    """Goal: `cmd/mft-node.py`, the script `mft-node` and the module agree. Method: compare names and imports."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    scripts: dict[str, str] = settings["project"]["scripts"]
    launchers = {path.stem: path.read_text("utf-8") for path in (REPOSITORY / "cmd").glob("*.py")}
    assert launchers.keys() == scripts.keys()
    for name, target in scripts.items():
        module, function = target.split(":")
        assert f"from {module} import {function}\n" in launchers[name]


def test_bench_bounds_are_well_formed() -> None:
    """Goal: a benchmark's bound cannot be lost by a typing error. Method: read the file; every leaf is a number."""
    file = REPOSITORY / "bench" / "bounds.toml"
    if not file.exists():
        pytest.skip("there are no benchmarks yet")
    waiting: list[object] = [tomllib.loads(file.read_text("utf-8"))]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            assert value, "an empty table"
            waiting += value.values()
        else:
            assert type(value) in {int, float}, value
