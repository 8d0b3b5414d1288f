"""The systemd units and the example configs, checked by the tools that will read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.commands import REPOSITORY, environment_names, parse

UNITS = sorted((REPOSITORY / "deploy" / "systemd").glob("*.service"))
EXAMPLES = REPOSITORY / "deploy" / "examples"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_is_what_systemd_takes(unit: Path, tmp_path: Path) -> None:
    """Goal: no setting that systemd ignores. Method: `systemd-analyze verify`; the program is one that exists."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine; the unit's text is checked by the other test")
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text("utf-8"), flags=re.MULTILINE)
    text = re.sub(r"^(User|Group|EnvironmentFile)=.*$", "", text, flags=re.MULTILINE)
    copy = tmp_path / unit.name
    copy.write_text(text, "utf-8")
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert unit.name not in checked.stderr, checked.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_starts_our_program_as_it_is(unit: Path) -> None:
    """Goal: unit and program fit. Method: the program's parser, its variables, and drain before systemd's patience."""
    settings = dict(line.split("=", 1) for line in unit.read_text("utf-8").splitlines() if re.match(r"[A-Z]\w+=", line))
    command = settings["ExecStart"].split()
    program = unit.stem
    assert Path(command[0]).name == program
    parse([*command, "--etcd", "127.0.0.1:2379"])
    assert float(settings["TimeoutStopSec"]) > float(command[command.index("--stop") + 1])
    assert settings["KillMode"] == "mixed"
    assert settings["Type"] == "simple"
    file = EXAMPLES / f"{program.removeprefix('mft-')}.env"
    given = [line.split("=")[0] for line in file.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    given += [part.split("=")[0] for part in settings["Environment"].split() if part.startswith("MFT_")]
    assert set(given) <= environment_names()[program], given
    assert settings["EnvironmentFile"] == f"/etc/mft/{file.name}"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda example: example.name)
def test_example_config_is_valid(example: Path) -> None:
    """Goal: examples that can be applied. Method: `mft-admin config check` on each."""
    program = REPOSITORY / ".venv" / "bin" / "mft-admin"
    command = [str(program) if program.exists() else "mft-admin", "config", "check", str(example)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert not checked.stderr, checked.stderr
