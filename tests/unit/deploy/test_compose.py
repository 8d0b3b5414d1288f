"""docker-compose.yml and the Dockerfile as far as they can be checked without a container engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rig.binaries import find, find_etcd
from tests.rig.sshd import make_key
from tests.unit.deploy.commands import REPOSITORY, command_lines, environment_names, parse

DEPLOY = REPOSITORY / "deploy"
ETCD_LINE = re.compile(r"^\s+--([a-z0-9-]+)", re.MULTILINE)


@pytest.fixture
def compose() -> dict[str, Any]:
    """The compose file as YAML."""
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))
    return loaded


@pytest.fixture
def example() -> dict[str, Any]:
    """The config that the compose file applies."""
    return tomllib.loads((DEPLOY / "examples" / "compose.toml").read_text("utf-8"))


def test_services_are_those_promised(compose: dict[str, Any]) -> None:
    """Goal: a whole cluster. Method: the names of the services, and that each image is pinned or built here."""
    assert {"etcd-1", "etcd-2", "etcd-3", "controller", "node-1", "node-2", "haproxy", "partner"} <= set(
        compose["services"]
    )
    for name, service in compose["services"].items():
        image = service["image"]
        assert "build" in service or (":" in image.rpartition("/")[2] and not image.endswith(":latest")), name


def test_every_name_that_is_used_is_there(compose: dict[str, Any]) -> None:
    """Goal: nothing dangles. Method: dependencies, networks, volumes and bind mounts against what is declared."""
    for name, service in compose["services"].items():
        needs = service.get("depends_on", [])
        assert set(needs) <= set(compose["services"]), name
        for needed, how in needs.items() if isinstance(needs, dict) else ():
            if how["condition"] == "service_healthy":
                assert _is_checked(compose["services"][needed]), f"{name} waits for {needed}, which has no check"
            else:
                assert compose["services"][needed]["restart"] == "no", needed
        assert set(service.get("networks", [])) <= set(compose["networks"]), name
        mode = service.get("network_mode", "none")
        assert mode == "none" or mode.removeprefix("service:") in compose["services"], name
        for volume in service.get("volumes", []):
            source, target, *options = volume.split(":")
            assert target.startswith("/"), volume
            assert options in ([], ["ro"]), volume
            if source.startswith("."):
                assert (REPOSITORY / source).exists(), volume
            else:
                assert source in compose["volumes"], volume
    used = {v.split(":")[0] for service in compose["services"].values() for v in service.get("volumes", [])}
    assert set(compose["volumes"]) <= used


def _is_checked(service: dict[str, Any]) -> bool:
    if "healthcheck" in service:
        return not service["healthcheck"].get("disable")
    stage = service["build"]["target"]
    return any(line.startswith("HEALTHCHECK") for line in _stages()[stage])


def test_commands_are_what_the_programs_take(compose: dict[str, Any]) -> None:
    """Goal: no option of ours that does not exist. Method: the programs' own parsers, on each command and script."""
    for service in compose["services"].values():
        command = service.get("command", [])
        if command and command[0].startswith("mft-"):
            parse(command, service["environment"])
            unknown = {name for name in service["environment"] if name.startswith("MFT_")} - (
                environment_names()[command[0]] | environment_names()["mft-admin"]
            )
            assert not unknown, unknown
    commands = list[list[str]]()
    scripts = [*(DEPLOY / "compose").glob("*.sh"), REPOSITORY / "docker-compose.yml"]
    for script in scripts:
        text = script.read_text("utf-8")
        commands += command_lines(text if script.suffix == ".sh" else _comments(text))
    assert len(commands) >= 6
    for command in commands:
        parse(command)


def _comments(text: str) -> str:
    return "\n".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))


def test_scripts_are_shell(compose: dict[str, Any]) -> None:
    """Goal: scripts that start. Method: `sh -n`; each script that a service runs is mounted."""
    for script in [*(DEPLOY / "compose").glob("*.sh"), DEPLOY / "partner" / "start.sh"]:
        subprocess.run(["sh", "-n", script], check=True)
        assert os.access(script, os.X_OK), script
    for name in ("init", "first-config"):
        service = compose["services"][name]
        mounts = dict(reversed(volume.split(":")[:2]) for volume in service["volumes"])
        folder, _, file = service["command"][1].rpartition("/")
        assert (REPOSITORY / mounts[folder] / file).exists()


def test_etcd_has_the_options_it_is_given(compose: dict[str, Any]) -> None:
    """Goal: three members that find each other. Method: variables against `etcd --help`, URLs against service names."""
    shown = subprocess.run([find_etcd("etcd", "3.4"), "--help"], capture_output=True, text=True, check=False)
    options = set(ETCD_LINE.findall(shown.stdout + shown.stderr))
    members = [name for name in compose["services"] if name.startswith("etcd-")]
    for name in members:
        settings = compose["services"][name]["environment"]
        asked = {variable.removeprefix("ETCD_").lower().replace("_", "-") for variable in settings}
        assert asked <= options, asked - options
        assert settings["ETCD_NAME"] == name
        assert f"//{name}:2379" in settings["ETCD_ADVERTISE_CLIENT_URLS"]
        peers = dict(part.split("=") for part in settings["ETCD_INITIAL_CLUSTER"].split(","))
        assert set(peers) == set(members)
        assert peers[name] == settings["ETCD_INITIAL_ADVERTISE_PEER_URLS"] == f"http://{name}:2380"
    endpoints = {f"{name}:2379" for name in members}
    for name in ("controller", "node-1", "node-2"):
        assert set(compose["services"][name]["environment"]["MFT_ETCD_ENDPOINTS"].split(",")) == endpoints


def test_haproxy_and_config_agree_with_compose(compose: dict[str, Any], example: dict[str, Any]) -> None:
    """Goal: a login works at the first try. Method: hosts, ports and addresses of all three files side by side."""
    haproxy = (DEPLOY / "haproxy.cfg").read_text("utf-8")
    servers = dict(re.findall(r"^  server (\S+) (\S+)$", haproxy, re.MULTILINE))
    listener = example["services"]["sftp"]["listener"]
    assert servers == {name: f"{name}:{listener['port']}" for name in ("node-1", "node-2")}
    for name in servers:
        command = compose["services"][name]["command"]
        assert command[command.index("--name") + 1] == name
    balancer = compose["services"]["haproxy"]
    assert balancer["networks"]["cluster"]["ipv4_address"] in listener["proxy_trusted"]
    bound = re.findall(r"^  bind :(\d+)$", haproxy, re.MULTILINE)
    assert [port.rpartition(":")[2] for port in balancer["ports"]] == bound
    partner = example["locations"]["partner"]
    assert partner["address"] in compose["services"]
    assert f":-{partner['password']}}}" in compose["services"]["partner"]["environment"]["PARTNER_PASSWORD"]
    assert partner["host_keys"][0] in (DEPLOY / "compose" / "first-config.sh").read_text("utf-8")


def test_haproxy_accepts_its_config() -> None:
    """Goal: HAProxy starts. Method: HAProxy 2.6 checks the shipped file as it is."""
    command: list[str | Path] = [find("haproxy"), "-c", "-f", DEPLOY / "haproxy.cfg"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_sshd_accepts_the_partners_config(tmp_path: Path) -> None:
    """Goal: the partner starts. Method: `sshd -t` on the shipped file, its host key replaced by one of the test."""
    key = make_key(tmp_path / "host_key")
    text = (DEPLOY / "partner" / "sshd_config").read_text("utf-8")
    config = tmp_path / "sshd_config"
    config.write_text(text.replace("/etc/ssh/keys/ssh_host_ed25519_key", str(key)), "utf-8")
    checked = subprocess.run([find("sshd"), "-t", "-f", config], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def _stages() -> dict[str, list[str]]:
    text = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    stages: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("FROM "):
            lines = stages[line.split(" AS ")[1]] = []
        if line and not line.startswith("#"):
            lines.append(line)
    return stages


def test_dockerfile(compose: dict[str, Any]) -> None:
    """Goal: an image that builds, without root and without keys. Method: stages, sources, user, folders, programs."""
    stages = _stages()
    ignored = (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    for lines in stages.values():
        for line in lines:
            if line.startswith("COPY"):
                *sources, _ = [part for part in line.split()[1:] if not part.startswith("--")]
                stage = re.search(r"--from=(\S+)", line)
                if stage:
                    assert stage[1] in stages, line
                    continue
                for source in sources:
                    assert (REPOSITORY / source).exists(), line
                    assert any(source.startswith(rule[1:]) for rule in ignored if rule.startswith("!")), line
    assert {service["build"]["target"] for service in compose["services"].values() if "build" in service} <= set(stages)
    program = stages["program"]
    assert any(line.startswith("USER ") and not line.startswith(("USER 0", "USER root")) for line in program)
    made = " ".join(line for line in program if line.startswith("RUN "))
    for service in ("controller", "node-1", "init"):
        for volume in compose["services"][service]["volumes"]:
            target = volume.split(":")[1]
            assert target in made or target.startswith("/etc/mft"), f"{target} would belong to root"
    for line in program:
        if line.startswith(("CMD", "HEALTHCHECK")):
            command = json.loads(line[line.index("[") :])
            assert command[0] in {"python", "mft-node"}
    assert [rule for rule in ignored if rule and not rule.startswith(("!", "#", "**"))] == ["*"]
