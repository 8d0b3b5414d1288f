"""Programs that are run for a file: what they get, how they end, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from mft.transfers.programs import run_program
from tests.rig.waiting import eventually


def script(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_what_a_program_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: its words as they are, its values, and nothing else of our environment. Method: have it write them down."""
    monkeypatch.setenv("A_SECRET", "hidden")
    said = tmp_path / "said"
    program = script(tmp_path, f'for word in "$@"; do echo "<$word>"; done > {said}; env >> {said}')
    words = ["two words", "$(id)", "*", "", "-x"]
    outcome = await run_program([program, *words], {"SOURCE_NAME": "a b.csv"}, 30)
    assert outcome == ("", "")
    lines = said.read_text().splitlines()
    assert lines[: len(words)] == [f"<{word}>" for word in words]
    assert "SOURCE_NAME=a b.csv" in lines
    assert not any("A_SECRET" in line for line in lines)


async def test_a_status_and_the_last_words(tmp_path: Path) -> None:
    """Goal: a failure is told with the end of what was printed. Method: much output on both streams, status 3."""
    program = script(tmp_path, "yes | head -c 200000; echo; echo the reason >&2; exit 3")
    outcome = await run_program([program], {}, 30)
    assert outcome.problem == "it ended with status 3"
    assert outcome.output.endswith("the reason")
    assert len(outcome.output) <= 2048
    assert "it printed: " in str(outcome)


@pytest.mark.parametrize(("word", "why"), [("/nowhere/program", "no program"), ("no-such-program", "no program")])
async def test_a_program_that_is_not_there(word: str, why: str) -> None:
    """Goal: that is said in words. Method: a path and a name that lead nowhere."""
    assert why in (await run_program([word], {}, 30)).problem


async def test_one_that_is_killed(tmp_path: Path) -> None:
    """Goal: the signal is named. Method: one that kills itself."""
    assert (await run_program([script(tmp_path, "kill -TERM $$")], {}, 30)).problem == "it was ended by SIGTERM"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ends", ["timeout", "cancelled", "by itself"])
async def test_nothing_of_it_stays(tmp_path: Path, ends: str) -> None:
    """Goal: what a program has started ends with it, however it ends. Method: a child that would sleep long."""
    pids = tmp_path / "pids"
    program = script(tmp_path, f"sleep 1000 & echo $! $$ > {pids}; {'exit 0' if ends == 'by itself' else 'wait'}")
    began = time.monotonic()

    async def started() -> list[int]:
        await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2, 30, what="it runs")
        return [int(pid) for pid in pids.read_text().split()]

    async with asyncio.TaskGroup() as tasks:
        timeout_s = 3.0 if ends == "timeout" else 300.0
        running = tasks.create_task(run_program([program], {}, timeout_s), name="program")
        numbers = await started()
        if ends == "cancelled":
            running.cancel()
        await asyncio.wait([running])
    await eventually(lambda: not any(is_alive(pid) for pid in numbers), 30, what="all have ended")
    if ends == "timeout":
        assert running.result().problem == "it was ended after 3 s"
    elif ends == "by itself":
        assert running.result().problem == ""
    assert time.monotonic() - began < 100
