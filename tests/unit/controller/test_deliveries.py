"""The store of deliveries: one row for each file, whatever order and however often its events come."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mft.controller.deliveries import FILE, DeliveryStore
from mft.controller.deliveries_rows import Arrived, Question
from mft.errors import Invalid
from mft.events import catalogue


def arrived(sequence: int, delivery: str, id: int = catalogue.FILE_DELIVERED, **more: Any) -> Arrived:
    fields = {
        "transfer": "out",
        "delivery": delivery,
        "source": f"outgoing/{delivery}.csv",
        "path": f"/in/box/{delivery}.csv" if id == catalogue.FILE_DELIVERED else f"outgoing/{delivery}.csv",
        "reason": "" if id == catalogue.FILE_DELIVERED else "refused",
        "sha256": "ab" if id == catalogue.FILE_DELIVERED else "",
        "size_bytes": 12,
        "version": 3,
        "attempt": "5.4",
    }
    return Arrived(sequence, id, float(more.pop("at", sequence)), "info", "what happened", fields | more)


@contextlib.asynccontextmanager
async def opened(folder: Path, days: int = 365) -> AsyncIterator[DeliveryStore]:
    store = DeliveryStore(folder, days)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_each_file_has_one_row(tmp_path: Path) -> None:
    """Goal: repeated, late and second reports change nothing. Method: each of them, from two nodes, over a restart."""
    async with opened(tmp_path) as store:
        failed = arrived(1, "x", catalogue.FILE_FAILED_WILL_RETRY)
        assert await store.add("a", "s", [arrived(2, "x"), failed]) == 2
        assert await store.add("a", "s", [arrived(2, "x"), failed, arrived(3, "y")]) == 3
        assert await store.add("b", "t", [arrived(1, "x", catalogue.FILE_FAILED_WILL_RETRY, at=99)]) == 1
        assert await store.add("b", "t", [arrived(2, "x", at=100)]) == 2
    async with opened(tmp_path) as store:
        assert [await store.stored(*who) for who in (("a", "s"), ("b", "t"), ("b", "s"))] == [3, 2, 0]
        found = (await store.find(Question())).deliveries
        assert [(one.delivery, one.outcome, one.node, one.at) for one in found] == [
            ("y", "delivered", "a", 3.0),
            ("x", "delivered", "a", 2.0),
        ]
        assert (found[1].attempts, found[1].run, found[1].config_version, found[1].sha256) == (2, 4, 3, "ab")
        assert [one.at for one in await store.troubles("out", 10)] == [99.0, 1.0]


async def test_a_question_finds_what_was_asked(tmp_path: Path) -> None:
    """Goal: "was it sent?" by path, transfer, time and outcome, in pages. Method: fifty files, a question for each."""
    async with opened(tmp_path) as store:
        await store.add("a", "s", [arrived(n, f"d{n:02d}", transfer="in" if n % 2 else "out") for n in range(1, 50)])
        await store.add("a", "s", [arrived(50, "bad", catalogue.FILE_QUARANTINED, size_bytes=0)])

        async def names(**asked: Any) -> list[str]:
            return [one.delivery for one in (await store.find(Question(**asked))).deliveries]

        assert await names(path="d07.csv") == ["d07"]
        assert await names(path="/in/*/d0[12].csv") == ["d02", "d01"]
        assert await names(path="outgoing/d1*", transfer="in", limit=2) == ["d19", "d17"]
        assert await names(outcome="quarantined") == ["bad"]
        assert await names(since=48.0, until=50.0) == ["d49", "d48"]
        page, seen = await store.find(Question(limit=20)), list[str]()
        while page.following:
            seen += [one.delivery for one in page.deliveries]
            page = await store.find(Question(limit=20, after=page.following))
        seen += [one.delivery for one in page.deliveries]
        assert seen == ["bad", *(f"d{n:02d}" for n in range(49, 0, -1))]
        for wrong in (Question(outcome="sent"), Question(limit=0), Question(after="x:y")):
            with pytest.raises(Invalid):
                await store.find(wrong)


async def test_what_is_old_goes_and_what_is_damaged_is_put_aside(tmp_path: Path) -> None:
    """Goal: the file neither grows for ever nor keeps a controller from starting. Method: purge; then rubbish."""
    day = 86400.0
    async with opened(tmp_path, days=10) as store:
        await store.add("a", "s", [arrived(1, "old", at=day), arrived(2, "new", at=25 * day)])
        assert await store.purge(now=30 * day) == 1
        assert [one.delivery for one in (await store.find(Question())).deliveries] == ["new"]
    (tmp_path / FILE).write_bytes(b"rubbish" * 1000)
    async with opened(tmp_path) as store:
        assert (await store.find(Question())).deliveries == ()
        assert await store.known("new") is None
