"""The rig itself: that servers start, keep their data, can be frozen and killed, and that leaks are seen."""

from __future__ import annotations

import asyncio
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.rig.etcd import Etcd
from tests.rig.etcd_cluster import Member, run_etcd_cluster
from tests.rig.leaks import processes_left, tasks_left
from tests.rig.processes import descendants, is_alive
from tests.rig.sftp import sftp_batch
from tests.rig.sshd import Sshd
from tests.rig.waiting import eventually, free_port


async def test_etcd_keeps_its_data_over_a_kill(each_etcd: Etcd) -> None:
    """Goal: a restarted member is the same one. Method: put, kill, start again, get by etcdctl."""
    await each_etcd.ctl("put", "key", "value")
    each_etcd.kill()
    assert not each_etcd.running()
    await each_etcd.restart()
    assert await each_etcd.ctl("get", "--print-value-only", "key") == "value\n"


async def test_a_paused_etcd_does_not_answer(each_etcd: Etcd) -> None:
    """Goal: a freeze is no crash. Method: pause, a call runs into its limit, resume, it answers."""
    each_etcd.pause()
    with pytest.raises(TimeoutError):
        await each_etcd.ctl("get", "key", limit_s=0.5)
    each_etcd.resume()
    await each_etcd.ctl("get", "key")


async def test_the_shared_etcd_answers(etcd: Etcd, prefix: str) -> None:
    """Goal: the shared member serves each test. Method: put and get below the fresh name."""
    await etcd.ctl("put", prefix, "1")
    assert await etcd.ctl("get", "--print-value-only", prefix) == "1\n"


async def test_sshd_takes_and_gives_files(sshd: Sshd, tmp_path: Path) -> None:
    """Goal: the partner of the tests is OpenSSH on both sides. Method: put, kill the server, start again, get."""
    source, copy = tmp_path / "a.txt", tmp_path / "copy.txt"
    source.write_text("content")
    await sftp_batch(sshd.port, sshd.user, [f"put {source} a.txt"], key=sshd.key, known_hosts=sshd.known_hosts)
    assert (sshd.home / "a.txt").read_text() == "content"
    await sshd.restart()
    await sftp_batch(sshd.port, sshd.user, [f"get a.txt {copy}"], key=sshd.key, known_hosts=sshd.known_hosts)
    assert copy.read_text() == "content"


async def test_sftp_reports_refusal(sshd: Sshd) -> None:
    """Goal: a refused login is a result, not a hang. Method: a password, which this server does not take."""
    result = await sftp_batch(sshd.port, sshd.user, ["ls"], password="wrong", check=False)
    assert result.code == 255
    assert "Permission denied" in result.errors


def test_a_left_process_is_seen_and_ended() -> None:
    """Goal: no process survives its test unseen. Method: start one whose parent ends at once, and look."""
    before = set(descendants(os.getpid()))
    subprocess.run(["sh", "-c", "sleep 1000 >/dev/null 2>&1 &"], check=True)
    left = processes_left(before, grace_s=0.1)
    assert [line.split(maxsplit=1)[1] for line in left] == ["sleep 1000"]
    assert not is_alive(int(left[0].split()[0]))


async def test_a_left_task_is_seen() -> None:
    """Goal: no task survives its test unseen. Method: leave one for a moment, and look."""
    async with asyncio.TaskGroup() as tasks:
        forgotten = tasks.create_task(asyncio.sleep(60), name="forgotten")
        assert [line.split(":")[0] for line in await tasks_left(grace_s=0.1) if "forgotten" in line] == ["forgotten"]
        forgotten.cancel()


async def test_eventually_says_what_was_awaited() -> None:
    """Goal: a missed deadline explains itself. Method: wait for what never comes."""
    with pytest.raises(AssertionError, match="the moon: 0"):
        await eventually(lambda: 0, 0.05, what="the moon")


def test_free_port_is_free() -> None:
    """Goal: two calls rarely meet. Method: many calls."""
    assert len({free_port() for _ in range(20)}) > 15


async def test_an_etcd_cluster_changes_its_leader(tmp_path: Path) -> None:
    """Goal: the faults that need three members strike. Method: hand over; kill who leads; each time another leads."""
    async with run_etcd_cluster(tmp_path) as cluster:
        first = await cluster.leader()
        assert first is not None
        assert await cluster.move_leader()

        async def another(than: object) -> Member | None:
            leader = await cluster.leader()
            return leader if leader is not than else None

        second = await eventually(partial(another, first), what="another leads")
        assert second is not None
        await second.ctl("put", "key", "value")
        second.kill()
        third = await eventually(partial(another, second), what="a third leads")
        assert third is not None
        assert await third.ctl("get", "--print-value-only", "key") == "value\n"
        assert not cluster.running()
        await cluster.start()
        assert cluster.running()
