"""Files that come into a folder are told, as far as the kernel tells; the rest is polled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mft.aio import Latest
from mft.etcd.beside import beside
from mft.events import catalogue
from mft.model.starts import StartSpec
from mft.transfers.notify import Folder, Folders, Notifier, concerns
from tests.integration.dispatcher.conftest import Field
from tests.rig.waiting import eventually


@pytest.mark.parametrize(
    ("path", "flat", "deep"),
    [
        ("/out/a", True, True),
        ("/out/sub/a", False, True),
        ("/out/.a", False, False),
        ("/out/.mft/d/a", False, False),
        ("/out/sub/.hidden/a", False, False),
        ("/outer/a", False, False),
        ("/out", False, False),
    ],
)
def test_which_changes_concern_a_folder(path: str, flat: bool, deep: bool) -> None:
    """Goal: our own renames and producers' temp names start nothing. Method: paths of each kind."""
    assert concerns(Folder("/out", recursive=False), path) is flat
    assert concerns(Folder("/out", recursive=True), path) is deep


async def test_files_that_come_are_told(tmp_path: Path) -> None:
    """Goal: a file that is written or renamed into a watched folder is told. Method: one in each of three folders.

    The folders that are watched change in between; one is missing, which is told once.
    """
    for name in ("flat", "deep/sub", "late"):
        (tmp_path / name).mkdir(parents=True)
    came: list[str] = []
    failed: list[tuple[str, str, str]] = []
    wanted: Folders = {
        "flat": Folder(str(tmp_path / "flat"), recursive=False),
        "deep": Folder(str(tmp_path / "deep"), recursive=True),
        "gone": Folder(str(tmp_path / "gone"), recursive=False),
    }
    folders = Latest(wanted)
    notifier = Notifier(folders, came.append, lambda *told: failed.append(told))
    async with beside(notifier.run(), name="notifier"):
        await eventually(lambda: failed)

        def write(path: Path) -> bool:
            # Written until it is told: the threads begin to watch some time after they were begun.
            path.write_text("content")
            return path.parts[len(tmp_path.parts)] in came

        await eventually(lambda: write(tmp_path / "flat" / "a"), every_s=0.2)
        await eventually(lambda: write(tmp_path / "deep" / "sub" / "a"), every_s=0.2)
        folders.set({**wanted, "late": Folder(str(tmp_path / "late"), recursive=False)})
        (tmp_path / "late" / ".temp").write_text("content")
        await eventually(lambda: write(tmp_path / "late" / "b"), every_s=0.2)
    assert failed == [("gone", str(tmp_path / "gone"), "there is no such folder")]


async def test_a_notification_starts_a_pass(field: Field, tmp_path: Path) -> None:
    """Goal: the leader looks when a file comes, long before its poll. Method: an interval of an hour, and a rename."""
    (tmp_path / "out").mkdir()
    start = StartSpec(notify=True)
    field.set(t={"source_path": str(tmp_path / "out"), "start": start}, u={"source_path": "/no/such", "start": start})
    async with field.node("n1") as node:
        await eventually(lambda: field.told(catalogue.SOURCE_NOT_NOTIFIED))
        await eventually(lambda: field.made("t") and node.status("t").state == "idle")
        before = field.made("t")

        def produce() -> bool:
            temp = tmp_path / "out" / ".file"
            temp.write_text("content")
            os.replace(temp, tmp_path / "out" / f"file{field.made('t')}")
            return field.made("t") > before

        await eventually(produce, every_s=0.3)
    (told,) = field.told(catalogue.SOURCE_NOT_NOTIFIED)
    assert told["transfer"] == "u"
