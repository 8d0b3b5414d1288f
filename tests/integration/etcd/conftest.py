"""What the tests of the etcd client share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rig.etcd import Etcd, run_etcd


@pytest.fixture
async def own_etcd(tmp_path: Path) -> AsyncIterator[Etcd]:
    """An etcd of the test's own, to be frozen and killed, where the client's side matters and not the version."""
    async with run_etcd(tmp_path / "etcd") as member:
        yield member
