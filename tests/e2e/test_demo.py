"""`mft-demo` as a user starts it: the leader dies on the way, every file arrives once, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import pytest

COMMAND = (sys.executable, "-m", "mft.cli.demo", "--json")
RUN_LIMIT_S = 200.0
FILES = 400
"""So many that the leader is still at work when its moment comes to be killed, however slow the one who looks."""
FIELDS = ["uploaded", "delivered", "lost", "duplicates", "failover_s", "ready_s", "killed_at", "in_flight"]


@pytest.mark.parametrize("kill_at", ["intent"])
async def test_every_file_arrives_once_although_the_leader_is_killed(kill_at: str) -> None:
    """Goal: the program's promise, in small. Method: fewer files; the JSON line says what the partner received."""
    code, output, progress = await _demo("--files", str(FILES), "--seed", "7", "--kill-at", kill_at)
    assert code == 0, progress
    assert output.count("\n") == 1
    outcome = json.loads(output)
    assert list(outcome) == FIELDS
    assert (outcome["uploaded"], outcome["delivered"]) == (FILES, FILES), progress
    assert (outcome["lost"], outcome["duplicates"]) == (0, 0), progress
    assert outcome["killed_at"] in {"uploading", "intent", "renamed"}
    assert outcome["in_flight"] >= 1
    # The time itself is measured by runs on a quiet machine; here it must only be one.
    assert 0 < outcome["failover_s"] < RUN_LIMIT_S


async def test_a_demo_that_is_interrupted_leaves_nothing_behind() -> None:
    """Goal: Ctrl-C is safe at any time. Method: SIGINT when all programs run; the rig looks for what is left."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(RUN_LIMIT_S):
            while b"both nodes are ready" not in (line := await process.stderr.readline()):
                assert line, "it ended by itself"
            process.send_signal(signal.SIGINT)
            _, rest = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 130
    assert rest.splitlines()[-1].startswith(b"interrupted"), rest
    assert b"Traceback" not in rest


async def test_a_missing_server_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: who has not set up learns what to do. Method: name an etcd that is not there."""
    monkeypatch.setenv("MFT_ETCD", "/nowhere/etcd")
    code, output, errors = await _demo()
    assert code == 1
    assert output == ""
    assert errors.startswith("error: $MFT_ETCD names /nowhere/etcd")
    assert "`make setup`" in errors
    assert errors.count("\n") == 1


async def _demo(*arguments: str) -> tuple[int | None, str, str]:
    """Run the demo to its end: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(RUN_LIMIT_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode(), errors.decode()
