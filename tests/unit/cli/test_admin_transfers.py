"""How `mft-admin` reads times and writes sizes and progress."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from mft.cli.admin_transfers import time_of
from mft.cli.admin_watch import size_text, watch_json, watch_table
from mft.errors import Invalid
from mft.pb.admin.v1 import admin_pb2 as pb


def test_times_are_ages_or_dates() -> None:
    """Goal: both ways to say "since". Method: each unit, ISO 8601 with and without a zone, and what is neither."""
    now = 1_000_000.0
    for text, seconds in (("90s", 90), ("5m", 300), ("2h", 7200), ("3d", 3 * 86400), ("1w", 7 * 86400)):
        assert time_of(text, "--since", now) == now - seconds
    assert time_of("", "--since", now) == 0
    assert time_of("2026-11-22T18:00+00:00", "--since", now) == datetime(2026, 11, 22, 18, tzinfo=UTC).timestamp()
    assert time_of("2026-11-22", "--since", now) == datetime(2026, 11, 22).astimezone().timestamp()
    for wrong in ("yesterday", "2", "2y", "-2h", "18:00"):
        with pytest.raises(Invalid, match="--since"):
            time_of(wrong, "--since", now)


def test_sizes_are_readable() -> None:
    """Goal: a number of bytes at one glance. Method: one of each unit."""
    assert [size_text(n) for n in (0, 1023, 1536, 5 * 2**20, 2**30, 3 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 MiB",
        "1.0 GiB",
        "3.0 TiB",
    ]


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: the same facts for people and programs. Method: one run with a large file, then none."""
    run = pb.RunProgress(transfer="[out]", instance="a", run=7, files_delivered=3, bytes_done=2**21, rate_bytes_s=2**20)
    run.files.add(delivery="d", name="big.bin", bytes_done=2**20, size_bytes=2**22)
    changes = [pb.TransfersProgress(at=1.0, runs=[run]), pb.TransfersProgress(at=2.0)]
    watch_json(changes)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["runs"][0]["files"][0] == {
        "delivery": "d",
        "name": "big.bin",
        "bytes_done": 2**20,
        "size_bytes": 2**22,
    }
    assert second["runs"] == []
    watch_table(changes)
    shown = capsys.readouterr().out
    assert "[out]" in shown
    assert "1.0 MiB/s" in shown
    assert "25 % of 4.0 MiB" in shown
    assert "nothing is on its way" in shown
