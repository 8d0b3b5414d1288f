"""The demo's own judgement: it must see every file that is lost, comes twice or comes with another content."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mft.cli.demo_files import make_files
from mft.cli.demo_moment import KillAt, Moment, classify
from mft.cli.demo_partner import Consumer
from mft.etcd.beside import beside
from mft.model.delivery import Record
from tests.rig.waiting import eventually


class Inbox:
    """A folder with a consumer; files are published in it as transfers do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "inbox"
        self.folder.mkdir()
        (folder / "taken").mkdir()
        self.consumer = Consumer(self.folder, folder / "taken")

    def publish(self, name: str, content: bytes) -> None:
        """Write under a hidden name, then rename."""
        temp = self.folder / ".d.1.1-0.part"
        temp.write_bytes(content)
        temp.rename(self.folder / name)

    async def consumed(self, count: int) -> None:
        """Wait until so many files have arrived."""
        await eventually(lambda: len(self.consumer.arrivals) == count)


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    """An inbox whose consumer runs."""
    inbox = Inbox(tmp_path)
    async with beside(inbox.consumer.run(), name="consumer"):
        yield inbox


async def test_the_consumer_sees_what_is_lost_wrong_or_late(inbox: Inbox) -> None:
    """Goal: no wrong outcome passes for a good one. Method: one file of each kind."""
    for name, content in (("good", b"1"), ("late", b"2"), ("wrong", b"?")):
        inbox.publish(name, content)
    await inbox.consumed(3)
    assert list(inbox.folder.iterdir()) == []
    inbox.publish("late", b"2")
    await inbox.consumed(4)
    wanted = {name: hashlib.sha256(content).hexdigest()
              for name, content in (("good", b"1"), ("late", b"2"), ("wrong", b"3"), ("never", b"4"))}  # fmt: skip
    received = inbox.consumer.compare(wanted)
    assert received.delivered == 2
    assert received.lost == ("never", "wrong")
    assert received.duplicates == ("late",)


async def test_the_consumer_sees_a_copy_that_replaced_the_first_one(inbox: Inbox) -> None:
    """Goal: two copies count as two, however fast. Method: both arrive before the consumer may look."""
    inbox.publish("twice", b"1")
    inbox.publish("twice", b"1")
    await inbox.consumed(2)
    received = inbox.consumer.compare({"twice": hashlib.sha256(b"1").hexdigest()})
    assert (received.delivered, received.lost, received.duplicates) == (1, (), ("twice",))


def test_each_state_of_a_delivery_is_recognised() -> None:
    """Goal: `killed_at` is what was. Method: each combination of record, taken source and names at the partner."""
    records = {
        "b": Record(state="intent", name="b.txt", names=(".b.1.1-0.part",)),
        "c": Record(state="intent", name="c.txt", names=(".c.1.1-0.part", ".c.2.1-0.part")),
        "d": Record(state="done", name="d.txt"),
    }
    names = [".a.1.1-0.part", ".b.1.1-0.part", "c.txt"]
    states = classify(records, ["a", "b", "c", "d", "not-begun"], names)
    assert states == {"a": KillAt.UPLOADING, "b": KillAt.INTENT, "c": KillAt.RENAMED}
    moment = Moment(leader="a", states=states, is_consumed=False)
    assert moment.found(KillAt.INTENT) is KillAt.INTENT
    assert Moment(leader="a", states={}, is_consumed=True).found(KillAt.INTENT) is None


def test_files_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """Goal: a run can be repeated. Method: make the files twice, and once with another seed."""
    first, second, other = (make_files(tmp_path / str(number), 20, seed) for number, seed in enumerate((1, 1, 2)))
    assert [file[1:] for file in first] == [file[1:] for file in second]
    assert [file.sha256 for file in first] != [file.sha256 for file in other]
    assert all(file.path.stat().st_size == file.size_bytes for file in first)
