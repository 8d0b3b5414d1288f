"""Marks in a real etcd that is saved and restored with etcd's own programs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mft.cluster.keys import Keys
from mft.cluster.life import Life
from mft.errors import Invalid, Unavailable
from mft.etcd.client import EtcdClient
from mft.etcd.ops import Put
from tests.rig.etcd import PATIENT, Etcd, run_etcd

KEYS = Keys("c")


def life(client: EtcdClient, folder: Path, name: str = "a") -> Life:
    """Begin a process anew, with what it knows on its disk."""
    return Life(client.kv, KEYS, KEYS.mark("node", name), folder / f"{name}.json")


@pytest.mark.parametrize("bump", [0, 1_000_000_000])
async def test_a_restore_is_noticed(tmp_path: Path, bump: int) -> None:
    """Goal: an older store is known for what it is, also where its revisions go on above all that were used.

    Method: mark, save, mark, restore; by the process that lives on, by one begun anew, by one that knows nothing.
    """
    async with run_etcd(tmp_path / "etcd") as etcd, EtcdClient([etcd.endpoint], times=PATIENT) as client:
        known = life(client, tmp_path)
        assert await known.beat() == ("", None, "")
        await client.kv.put(KEYS.incarnation, b"one")
        for _ in range(3):
            assert await known.beat() == ("one", None, "")
        await etcd.ctl("snapshot", "save", str(tmp_path / "backup"))
        await life(client, tmp_path).beat()
        await known.beat()
        await etcd.restore(tmp_path / "backup", bump_revision=bump)
        for one in (known, life(client, tmp_path)):
            assert (await one.beat()).went_back == "it knows 3 marks of 5"
        assert (await life(client, tmp_path, "new").beat()).went_back == ""
        await client.kv.put(KEYS.incarnation, b"two")
        assert await known.beat() == ("two", None, "")
        assert not known.is_new
        # The same backup once more: what has ended does not come again.
        await etcd.restore(tmp_path / "backup", bump_revision=bump)
        assert "had ended" in (await life(client, tmp_path).beat()).went_back


async def test_nothing_is_noticed_where_nothing_was(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: no false alarm. Method: a new process; a lost file; two at one time; a write of which nobody was told."""
    keys = Keys(prefix)
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        await client.kv.put(keys.incarnation, b"one")
        made = [Life(client.kv, keys, keys.mark("node", "a"), tmp_path / "a.json") for _ in range(3)]
        assert (await made[0].beat()).went_back == ""
        assert (await made[1].beat()).went_back == ""
        assert made[0].is_new
        (tmp_path / "a.json").unlink()
        assert (await made[2].beat()).went_back == ""
        assert (await made[0].beat()).went_back == ""
        await client.kv.txn(when=[], then=[Put(keys.mark("node", "a"), b'{"incarnation":"one","count":99}')])
        assert (await made[0].beat()).went_back == ""


async def test_another_name_is_no_restore(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: an instance that is given another name stops nobody. Method: its folder under the new name, and back."""
    keys = Keys(prefix)
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        await client.kv.put(keys.incarnation, b"one")
        for name in ("a", "b", "a", "b"):
            renamed = Life(client.kv, keys, keys.mark("node", name), tmp_path / "life.json")
            for _ in range(3):
                assert (await renamed.beat()).went_back == ""
        await client.kv.put(keys.incarnation, b"two")
        assert (await Life(client.kv, keys, keys.mark("node", "a"), tmp_path / "life.json").beat()).went_back == ""
        await client.kv.put(keys.incarnation, b"one")
        renamed = Life(client.kv, keys, keys.mark("node", "b"), tmp_path / "life.json")
        assert "had ended" in (await renamed.beat()).went_back


async def test_an_answer_from_the_past_is_no_restore(
    etcd: Etcd, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a server that was frozen stops nobody. Method: a read is answered as one before was."""
    keys = Keys(prefix)
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        await client.kv.put(keys.incarnation, b"one")
        one = Life(client.kv, keys, keys.mark("node", "a"), tmp_path / "a.json")
        await one.beat()
        txn = client.kv.txn
        old: list[object] = []

        async def from_the_past(**given: object) -> object:
            if given["when"] or len(old) == 2:
                return await txn(**given)  # type: ignore[arg-type]
            old.append(await txn(**given))  # type: ignore[arg-type]
            return old[0]

        monkeypatch.setattr(client.kv, "txn", from_the_past)
        for _ in range(3):
            assert (await one.beat()).went_back == ""


async def test_two_callers_at_one_time(
    etcd: Etcd, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: what one learns late does not stand over what is newer. Method: a new incarnation amid the first one's."""
    keys = Keys(prefix)
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        await client.kv.put(keys.incarnation, b"one")
        one = Life(client.kv, keys, keys.mark("node", "a"), tmp_path / "a.json")
        await one.beat()
        txn, marked, told = client.kv.txn, asyncio.Event(), asyncio.Event()

        async def late(**given: object) -> object:
            result = await txn(**given)  # type: ignore[arg-type]
            if given["when"] and not marked.is_set():
                marked.set()
                await told.wait()
            return result

        monkeypatch.setattr(client.kv, "txn", late)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.beat(), name="first")
            await marked.wait()
            await client.kv.put(keys.incarnation, b"two")
            second = tasks.create_task(one.beat(), name="second")
            await asyncio.wait([second], timeout=0.5)
            told.set()
        assert second.result() == await one.beat() == ("two", None, "")


async def test_a_damaged_file_is_said(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: who cannot know it does not lead, and says which file. Method: damage it; a folder that is gone."""
    keys = Keys(prefix)
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        await client.kv.put(keys.incarnation, b"one")
        (tmp_path / "a.json").write_text("{")
        damaged = Life(client.kv, keys, keys.mark("node", "a"), tmp_path / "a.json")
        with pytest.raises(Invalid, match=r"a\.json is damaged"):
            await damaged.beat()
        (tmp_path / "a.json").unlink()
        homeless = Life(client.kv, keys, keys.mark("node", "b"), tmp_path / "gone" / "b.json")
        assert (await homeless.beat()).went_back == "", "a full disk does not stop transfers"


async def test_two_under_one_name(etcd: Etcd, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: an end with a reason. Method: somebody marks between each look and the mark."""
    keys = Keys(prefix)
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        await client.kv.put(keys.incarnation, b"one")
        one = Life(client.kv, keys, keys.mark("node", "a"), tmp_path / "a.json")
        txn = client.kv.txn

        async def with_another(**given: object) -> object:
            if given["when"]:
                await client.kv.put(keys.mark("node", "a"), b'{"incarnation":"one","count":1}')
            return await txn(**given)  # type: ignore[arg-type]

        monkeypatch.setattr(client.kv, "txn", with_another)
        with pytest.raises(Unavailable, match="two run under one name"):
            await one.beat()
