"""Connections between runs: kept, shared, and closed when nobody has used them for long enough."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mft.errors import Denied
from mft.events import catalogue
from mft.model.locations import LocalLocationSpec, SftpLocationSpec
from mft.transfers.remotes.base import Remote
from mft.transfers.remotes.pool import RemotePool
from tests.integration.remotes.conftest import open_descriptors
from tests.integration.transfers.conftest import sftp_location
from tests.rig.sshd import Sshd
from tests.rig.waiting import eventually


async def use(pool: RemotePool, spec: SftpLocationSpec) -> Remote:
    """Use the location as a run does: in a task of its own."""

    async def run() -> Remote:
        remote = await pool.get("partner", spec)
        await remote.lstat(".")
        return remote

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run(), name="run")
    return running.result()


async def test_what_becomes_of_a_connection_is_told(shared_sshd: Sshd) -> None:
    """Goal: an operator sees when a partner was reached, and why not. Method: connect, change, end; wrong host key."""
    events: list[tuple[int, dict[str, Any]]] = []
    before = open_descriptors()
    pool = RemotePool(lambda event, fields: events.append((event, fields)))
    await pool.get("here", LocalLocationSpec(root="/"))
    assert events == [], "a folder is no partner"
    await use(pool, sftp_location(shared_sshd))
    await use(pool, sftp_location(shared_sshd, call_timeout_s=29.0))
    await pool.close()
    assert [id for id, _ in events] == [
        catalogue.PARTNER_CONNECTING,
        catalogue.PARTNER_CONNECTED,
        catalogue.PARTNER_DISCONNECTED,
        catalogue.PARTNER_CONNECTING,
        catalogue.PARTNER_CONNECTED,
        catalogue.PARTNER_DISCONNECTED,
    ]
    address = f"{shared_sshd.host}:{shared_sshd.port}"
    assert all((fields["location"], fields["address"]) == ("partner", address) for _, fields in events)
    assert events[2][1]["reason"] == "its location was changed"
    with pytest.raises(Denied):
        await pool.get("partner", sftp_location(shared_sshd, host_keys=("SHA256:" + "A" * 43,)))
    assert [id for id, _ in events[6:]] == [catalogue.PARTNER_CONNECTING, catalogue.PARTNER_IS_ANOTHER]
    await eventually(lambda: open_descriptors() <= before, what="all is closed")


async def test_a_connection_is_kept_for_the_next_run(shared_sshd: Sshd) -> None:
    """Goal: runs that follow each other share a connection. Method: two runs; at the end nothing is open."""
    before, pool = open_descriptors(), RemotePool()
    spec = sftp_location(shared_sshd)
    assert await use(pool, spec) is await use(pool, spec)
    assert not open_descriptors() <= before
    await pool.close()
    await eventually(lambda: open_descriptors() <= before, what="all is closed")


async def test_a_connection_is_closed_with_its_last_run(shared_sshd: Sshd) -> None:
    """Goal: a partner that wants no idle connections sees none. Method: keep none open; a run within a longer one."""
    before, pool = open_descriptors(), RemotePool()
    spec = sftp_location(shared_sshd, keep_open_s=0)
    first = await use(pool, spec)
    await eventually(lambda: open_descriptors() <= before, what="it is closed")

    async def outer() -> None:
        remote = await pool.get("partner", spec)
        assert remote is not first
        assert await use(pool, spec) is remote
        await asyncio.sleep(0)
        await remote.lstat(".")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outer(), name="outer")
    await eventually(lambda: open_descriptors() <= before, what="it is closed")
    await pool.close()
