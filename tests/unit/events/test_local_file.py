"""Events become lines in real files: folders made, rotation survived, failures waited out, nothing forged."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mft.errors import Unavailable
from mft.events.event import Event
from mft.events.handlers.local_file import LocalFile
from mft.model.event_handlers import LocalFileHandlerSpec


def event(number: int = 60012, **fields: Any) -> Event:
    return Event(
        id=number,
        name="file-delivered",
        severity="info",
        at=1795370400.123456,
        instance="n1",
        text=f"File {fields.get('path', '?')} delivered.",
        fields=fields,
    )


def log_file(path: Path, **options: Any) -> LocalFile:
    return LocalFile(LocalFileHandlerSpec(path=str(path), **options))


@pytest.fixture
def _files_may_not_grow(tmp_path: Path) -> Iterator[None]:
    """Let no file grow beyond 40 bytes: a full disk that hits in the middle of a line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


async def test_text_line(tmp_path: Path) -> None:
    """Goal: the documented line, missing folders made. Method: write one event into folders that do not exist."""
    path = tmp_path / "var" / "logs" / "mft.log"
    await log_file(path).handle((event(path="/a b.csv", size_bytes=12),))
    expected = '2026-11-22T18:00:00.123456+00:00 n1 60012 info File /a b.csv delivered. path="/a b.csv" size_bytes=12\n'
    assert path.read_text() == expected
    assert path.stat().st_mode & 0o777 == 0o640


async def test_json_line(tmp_path: Path) -> None:
    """Goal: programs read one object a line, whatever a file is called. Method: a plain name and one without UTF-8."""
    path = tmp_path / "mft.log"
    await log_file(path, format="json").handle((event(path="ä"), event(path=os.fsdecode(b"\xff"), where=Path("/x"))))
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["id"] == 60012
    assert first["fields"] == {"path": "ä"}
    assert first["timestamp"] == "2026-11-22T18:00:00.123456+00:00"
    assert second["fields"] == {"path": os.fsdecode(b"\xff"), "where": "/x"}


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\x85", "\u2028", "\x1b[2J", "\udcff\n"])
async def test_a_name_cannot_forge_a_line(tmp_path: Path, line_break: str) -> None:
    """Goal: who chooses a file's name cannot write the log. Method: names with every kind of line break."""
    path = tmp_path / "mft.log"
    await log_file(path).handle((event(path=f"x{line_break}2026-11-22 n1 20137 info root logged in", who=line_break),))
    text = path.read_text()
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


@pytest.mark.parametrize("rotate", [Path.unlink, lambda path: path.rename(path.with_suffix(".1"))])
async def test_rotation(tmp_path: Path, rotate: Any) -> None:
    """Goal: logrotate needs no signal to us. Method: remove or rename the file between two events."""
    path = tmp_path / "mft.log"
    handler = log_file(path)
    await handler.handle((event(path="1"),))
    rotate(path)
    await handler.handle((event(path="2"),))
    assert 'path="2"' in path.read_text()
    assert 'path="1"' not in path.read_text()


async def test_a_path_that_cannot_be_written_is_an_outage_with_its_reason(tmp_path: Path) -> None:
    """Goal: the operator sees which file and why; it heals by itself. Method: a folder stands where the file should."""
    path = tmp_path / "mft.log"
    path.mkdir()
    handler, batch = log_file(path), (event(),)
    with pytest.raises(Unavailable, match=r"cannot write .*mft\.log: Is a directory"):
        await handler.handle(batch)
    path.rmdir()
    await handler.handle(batch)
    assert path.read_text().count("\n") == 1


@pytest.mark.usefixtures("_files_may_not_grow")
async def test_a_full_disk_neither_tears_nor_doubles_a_line(tmp_path: Path) -> None:
    """Goal: the log is whole after the disk was full. Method: forbid files to grow, in the middle of a line."""
    path = tmp_path / "mft.log"
    handler, batch = log_file(path), (event(path="1"), event(path="2"))
    with pytest.raises(Unavailable, match="File too large"):
        await handler.handle(batch)
    assert path.stat().st_size == 40
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    await handler.handle(batch)
    lines = path.read_text().splitlines()
    assert [line[-8:] for line in lines] == ['path="1"', 'path="2"']
