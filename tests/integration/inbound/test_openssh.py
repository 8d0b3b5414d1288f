"""OpenSSH's sftp and scp against the service: what users do all day."""

from __future__ import annotations

from pathlib import Path

from mft.services import happenings
from tests.integration.inbound.harness import Inbound


async def test_a_password_and_a_round_trip(inbound: Inbound, tmp_path: Path) -> None:
    """Goal: the first thing anybody tries works. Method: password, put, ls, get, compare."""
    (tmp_path / "up.bin").write_bytes(bytes(range(256)) * 3000)
    ran = await inbound.sftp("pwd", "put up.bin", "ls -la", "get up.bin down.bin", key=False)
    assert ran.status == 0, ran
    assert "Remote working directory: /" in ran.out
    assert (tmp_path / "down.bin").read_bytes() == (tmp_path / "up.bin").read_bytes()
    assert (inbound.home / "up.bin").stat().st_mode & 0o777 == 0o640
    assert [fields["size_bytes"] for fields in inbound.of(happenings.WRITE_CLOSED)] == [768_000]
