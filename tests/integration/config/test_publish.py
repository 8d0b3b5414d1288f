"""Versions on a real etcd: apply, conflicts, history, size, and what is done when etcd loses them."""

from __future__ import annotations

import asyncio
import json
import os
import time
import zlib
from pathlib import Path

import pytest

from mft.cluster.keys import Keys
from mft.cluster.store_etcd import Pointer, VersionConflict, encode_pointer
from mft.controller.operations import Applied
from mft.errors import Conflict, Invalid, MftError, NotFound
from mft.etcd.client import EtcdClient
from mft.model.document import to_toml
from tests.integration.config.controllers import keys_in, management
from tests.rig.etcd import PATIENT, Etcd, run_etcd
from tests.rig.waiting import on_this_machine
from tests.unit.model.samples import GOOD


async def names_under(etcd: Etcd, key: str) -> set[str]:
    """List the keys below a prefix, through etcd's own client."""
    return set((await etcd.ctl("get", "--prefix", "--keys-only", key)).split())


async def everything_in(etcd: Etcd, cluster: str) -> bytes:
    """Return all that etcd holds of the cluster, chunks inflated."""
    keys = Keys(cluster)
    async with EtcdClient([etcd.endpoint], times=PATIENT) as client:
        found = (await client.kv.get_prefix(keys.prefix)).kvs
    return b"\n".join(zlib.decompress(kv.value) if kv.key.startswith(keys.chunks) else kv.value for kv in found)


async def test_apply_show_and_history(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: the whole way of a config. Method: apply, apply the same, change it, look at each version."""
    async with management(etcd, tmp_path / "c", prefix) as controller:
        operations = controller.operations
        with pytest.raises(NotFound):
            await operations.show()
        await controller.custody.check()
        first = await operations.apply(GOOD, author="ann", comment="begin")
        assert (first.version, first.published, first.change.added) == (1, True, 7)
        again = await operations.apply(GOOD, author="ann")
        assert (again.version, again.published) == (1, False)
        dry = await operations.apply(GOOD.replace("2222", "2200"), author="bob", dry_run=True)
        assert (dry.version, dry.published, dry.change.names) == (1, False, ("~ services.main",))
        second = await operations.apply(GOOD.replace("2222", "2200"), author="bob", base=1)
        assert second.version == 2
        shown = await operations.show()
        assert shown.document["services"]["main"]["listener"] == {"port": 2200, "host_keys": ["***"] * 3}
        assert shown.document["accounts"]["alice"]["password"] == "***"
        assert (await operations.show(1)).document["services"]["main"]["listener"]["port"] == 2222
        edited = to_toml(shown.document).replace("2200", "2201")
        third = await operations.apply(edited, author="ann")
        assert third.change.names == ("~ services.main",)
        history = await operations.history()
        assert [(one.version, one.parent, one.author) for one in history] == [
            (3, 2, "ann"),
            (2, 1, "bob"),
            (1, 0, "ann"),
        ]
        with pytest.raises(NotFound):
            await operations.show(99)
        assert b"s3cret" not in await everything_in(etcd, prefix)
        pointer = json.loads(await etcd.ctl("get", "--print-value-only", Keys(prefix).current))
        assert pointer == {"stable": 3}


async def test_a_wrong_document_writes_nothing(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: all or nothing. Method: problems of three stages; etcd has not one key more."""
    async with management(etcd, tmp_path / "c", prefix) as controller:
        await controller.custody.check()
        before = await names_under(etcd, f"/mft/{prefix}/")
        for wrong in ("[", GOOD.replace("2222", "0"), GOOD.replace('"correct horse"', '"***"')):
            with pytest.raises(Invalid) as caught:
                await controller.operations.apply(wrong, author="ann")
            assert caught.value.problems
        assert await names_under(etcd, f"/mft/{prefix}/") == before


async def test_a_stale_author_is_told_both_versions(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: nobody overwrites unseen. Method: two authors who both began with version 1."""
    async with management(etcd, tmp_path / "c", prefix) as controller:
        await controller.operations.apply(GOOD, author="ann")
        await controller.operations.apply(GOOD.replace("2222", "2200"), author="bob", base=1)
        with pytest.raises(VersionConflict) as caught:
            await controller.operations.apply(GOOD.replace("2222", "2201"), author="ann", base=1)
        assert (caught.value.base, caught.value.current) == (1, 2)


async def test_two_controllers_race_and_one_wins(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: the transaction is the lock. Method: two controllers publish at once on the same base, six times."""
    keys = keys_in(tmp_path / "a", prefix)
    async with (
        management(etcd, tmp_path / "a", prefix) as one,
        management(etcd, tmp_path / "b", prefix, keys) as other,
    ):
        await one.custody.check()
        for base in range(6):
            results = await asyncio.gather(
                one.operations.apply(GOOD.replace("2222", f"30{base}1"), author="one", base=base),
                other.operations.apply(GOOD.replace("2222", f"30{base}2"), author="other", base=base),
                return_exceptions=True,
            )
            won = [result for result in results if isinstance(result, Applied)]
            lost = [result for result in results if isinstance(result, VersionConflict)]
            assert (len(won), len(lost)) == (1, 1), results
            assert won[0].version == base + 1
        both = await asyncio.gather(
            one.operations.apply(GOOD.replace("2222", "4001"), author="one"),
            other.operations.apply(GOOD.replace("2222", "4002"), author="other"),
        )
        assert {applied.version for applied in both} == {7, 8}, "without a base each is tried again"


async def test_a_hundred_thousand_accounts(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: they fit, and one changed account costs one chunk and one manifest. Method: apply, change one, count."""
    keys = Keys(prefix)
    hashed = "$argon2id$v=19$m=65536,t=3,p=4$" + "c2FsdHNhbHRzYWx0$"
    accounts = {
        f"user{n}": {"home_folder_path": f"/srv/home/user{n}", "password": hashed + os.urandom(22).hex()}
        for n in range(100_000)
    }
    async with management(etcd, tmp_path / "c", prefix) as controller:
        begun = time.monotonic()
        await controller.operations.apply(json.dumps({"accounts": accounts}), author="ann")
        assert time.monotonic() - begun < on_this_machine(15)
        chunks, versions = await names_under(etcd, keys.chunks), await names_under(etcd, keys.versions)
        assert len(chunks) == 256
        accounts["user77"]["home_folder_path"] = "/srv/elsewhere"
        applied = await controller.operations.apply(json.dumps({"accounts": accounts}), author="ann")
        assert applied.change.names == ("~ accounts.user77",)
        assert len(await names_under(etcd, keys.chunks) - chunks) == 1
        assert len(await names_under(etcd, keys.versions) - versions) == 1
        store = controller.operations._store
        version = await store.load(2)
        assert len(version.config.accounts) == 100_000


async def test_an_emptied_etcd_is_rebuilt(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: the controller's store is the truth. Method: delete all keys; a pass brings the content back, newer."""
    async with management(etcd, tmp_path / "c", prefix) as controller:
        await controller.custody.check()
        for port in ("2201", "2202"):
            await controller.operations.apply(GOOD.replace("2222", port), author="ann")
        before = (await controller.operations.history(1))[0]
        await etcd.ctl("del", "--prefix", f"/mft/{prefix}/")
        assert await controller.custody.check() == "rebuild"
        after = (await controller.operations.history(1))[0]
        assert after.version == before.version + 1
        assert after.incarnation != before.incarnation
        assert (await controller.operations.show()).document["services"]["main"]["listener"]["port"] == 2202
        assert await controller.custody.check() == "none"


async def test_an_etcd_restored_from_an_old_backup_gets_the_newest_again(
    etcd: Etcd, prefix: str, tmp_path: Path
) -> None:
    """Goal: no node goes backwards. Method: put the old pointer back; nodes had acknowledged a greater version."""
    keys = Keys(prefix)
    async with management(etcd, tmp_path / "c", prefix) as controller:
        await controller.custody.check()
        for port in ("2201", "2202", "2203"):
            await controller.operations.apply(GOOD.replace("2222", port), author="ann")
        await etcd.ctl("put", keys.current, encode_pointer(Pointer(stable=1)).decode())
        await etcd.ctl("del", keys.version(2))
        await etcd.ctl("del", keys.version(3))
        await etcd.ctl("put", keys.ack("n1"), '{"applied":7}')
        assert await controller.custody.check() == "rebuild"
        newest = (await controller.operations.history(1))[0]
        assert newest.version == 8
        assert (await controller.operations.show()).document["services"]["main"]["listener"]["port"] == 2203


async def test_a_second_controller_copies_what_the_first_published(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: any controller can rebuild. Method: publish by one, pass of the other, empty etcd, rebuild by the other."""
    keys = keys_in(tmp_path / "a", prefix)
    async with (
        management(etcd, tmp_path / "a", prefix) as one,
        management(etcd, tmp_path / "b", prefix, keys) as other,
    ):
        await one.operations.apply(GOOD, author="ann")
        assert await other.custody.check() == "none"
        await etcd.ctl("del", "--prefix", f"/mft/{prefix}/")
        assert await other.custody.check() == "rebuild"
        assert (await one.operations.show()).document["services"]["main"]["listener"]["port"] == 2222


async def test_what_is_forged_in_etcd_is_not_believed(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: write access to etcd publishes nothing. Method: rename a manifest, damage a chunk, read as a node."""
    keys = Keys(prefix)
    async with (
        management(etcd, tmp_path / "c", prefix) as controller,
        EtcdClient([etcd.endpoint], times=PATIENT) as client,
    ):
        await controller.operations.apply(GOOD, author="ann")
        store = controller.operations._store
        first = (await client.kv.get(keys.version(1))).value
        assert first is not None
        await client.kv.put(keys.version(2), first)
        with pytest.raises(Invalid):
            await store.manifest(2)
        await client.kv.put(keys.version(3), b'{"version":3}\nkey c2ln\n')
        with pytest.raises(Invalid):
            await store.manifest(3)
        name = (await store.manifest(1)).manifest.buckets[0]
        await client.kv.put(keys.chunk(name), b"other")
        with pytest.raises(Invalid, match="damaged"):
            await store.load(1)


async def test_a_staged_version_blocks_another_apply(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    """Goal: what is being tried is not overrun. Method: a pointer with `next`."""
    async with management(etcd, tmp_path / "c", prefix) as controller:
        await controller.operations.apply(GOOD, author="ann")
        await etcd.ctl("put", Keys(prefix).current, encode_pointer(Pointer(stable=1, next=2, to=("n1",))).decode())
        with pytest.raises(Conflict, match="being tried"):
            await controller.operations.apply(GOOD.replace("2222", "1"), author="ann")


async def test_without_etcd_apply_says_so_and_changes_nothing(prefix: str, tmp_path: Path) -> None:
    """Goal: an outage is an outage. Method: kill etcd, apply; start it again, apply."""
    async with run_etcd(tmp_path / "etcd") as own, management(own, tmp_path / "c", prefix) as controller:
        await controller.operations.apply(GOOD, author="ann")
        own.kill()
        with pytest.raises(MftError) as caught:
            await controller.operations.apply(GOOD.replace("2222", "2200"), author="ann")
        assert caught.value.stable_code.startswith("MFT-OUTAGE")
        await own.start()
        assert (await controller.operations.apply(GOOD.replace("2222", "2200"), author="ann")).version == 2
