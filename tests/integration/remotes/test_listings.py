"""What a listing asks of an OpenSSH server, and when it stops asking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mft.transfers.remotes.sftp_exchange import Exchange
from mft.transfers.remotes.sftp_wire import Kind
from tests.integration.remotes.conftest import place_at
from tests.integration.transfers.conftest import sftp_location
from tests.rig.sshd import Sshd


@pytest.mark.parametrize("files", [0, 7, 350, 950])
async def test_nothing_is_asked_after_the_end(
    shared_sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """Goal: a listing is over when it is answered so. Method: watch what is asked for folders of all sizes."""
    for number in range(files):
        (tmp_path / f"f{number}").touch()
    is_over = False
    call = Exchange.call

    async def watched(self: Exchange, kind: Kind, body: bytes, take: Any) -> Any:
        nonlocal is_over
        assert kind is not Kind.READDIR or not is_over, "it was answered that there are no more"
        answer = await call(self, kind, body, take)
        is_over |= kind is Kind.READDIR and not answer
        return answer

    monkeypatch.setattr(Exchange, "call", watched)
    async with place_at(sftp_location(shared_sshd), tmp_path, str(tmp_path)) as place:
        names = [entry.name async for entry in place.remote.scan(place.path(""))]
    assert sorted(names) == sorted(f"f{number}" for number in range(files))
    assert is_over
