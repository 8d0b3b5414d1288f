"""A whole program that is stopped and goes on."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.rig.cluster import Program, program
from tests.rig.waiting import eventually, free_port

LONGER_S = 1.5
"""Longer than the guardian waits in one piece."""


async def test_a_program_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """Goal: a pause is no request to end. Method: SIGSTOP a node's guardian for longer than it waits; SIGCONT."""
    command = [program("mft-node"), "--name", "a", "--etcd", f"127.0.0.1:{free_port()}", "--data", str(tmp_path / "a")]
    node = Program("a", command, tmp_path)
    try:
        node.launch()
        await eventually(node.agent, 60, what="an agent")
        agent = node.agent()
        await eventually(lambda: "etcd cannot be reached" in node.text(), 60, what="it runs")
        for _ in range(2):
            node.send(signal.SIGSTOP)
            await asyncio.sleep(LONGER_S)
            node.send(signal.SIGCONT)
            await asyncio.sleep(0.3)
        assert node.running()
        assert node.agent() == agent
        assert "stopping" not in node.text()
        node.send(signal.SIGTERM)
        assert await node.ended() == 0
    finally:
        node.kill()


async def test_a_data_folder_in_use_is_refused(tmp_path: Path) -> None:
    """Goal: no two instances write to one folder. Method: start a node twice, kill one, start the other."""
    command = [program("mft-node"), "--name", "a", "--etcd", f"127.0.0.1:{free_port()}", "--data", str(tmp_path / "a")]
    first, second = Program("a", command, tmp_path), Program("second", command, tmp_path)
    try:
        first.launch()
        await eventually(first.agent, 60, what="an agent")
        second.launch()
        assert await second.ended() == 2
        assert "another instance uses the data folder" in second.text()
        assert first.agent()
        first.kill()
        second.launch()
        await eventually(second.agent, 60, what="an agent")
    finally:
        second.kill()
        first.kill()
