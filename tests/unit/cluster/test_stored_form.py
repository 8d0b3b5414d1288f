"""The stored form: buckets, signed manifests, and versions on disk that survive damage."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mft.cluster.buckets import chunk_name, pack, unpack
from mft.cluster.manifest import Manifest, Signed, program_problem, sign, verify
from mft.cluster.sign import SigningKey, Trust
from mft.cluster.store_disk import DiskStore, HighWater
from mft.errors import Invalid, NotFound
from mft.model.accounts import AccountSpec
from mft.model.config import Config
from mft.model.decode import decode
from tests.unit.model.samples import good

KEY = SigningKey(b"k" * 32)


def accounts(names: set[str] | range, size: int = 200) -> Config:
    """Return a config with an account for each name."""
    return Config(accounts={str(n): AccountSpec(home_folder_path="/srv/" + "x" * size) for n in names})


def version(
    number: int, config: Config, key: SigningKey = KEY, cluster: str = "test"
) -> tuple[Signed, dict[str, bytes]]:
    """Sign a version with this content."""
    packed = pack(config)
    manifest = Manifest(
        cluster=cluster,
        incarnation="life",
        version=number,
        parent=number - 1,
        author="me",
        time=1.5,
        program_least="0.1.0",
        components=1,
        buckets=packed.buckets,
        key_id=key.id,
    )
    return sign(manifest, key), packed.chunks


_ids = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=8)


@given(st.sets(_ids, max_size=30))
@settings(max_examples=50)
def test_packing_loses_nothing(names: set[str]) -> None:
    """Goal: what is read is what was written. Method: any ids, packed and unpacked."""
    config = accounts(names)
    packed = pack(config)
    assert unpack(packed.buckets, packed.chunks.get) == config
    assert pack(config) == packed


def test_a_full_config_packs_to_itself() -> None:
    """Goal: every family has its place in the stored form. Method: the sample with all of them."""
    config = decode(good())
    packed = pack(config)
    assert unpack(packed.buckets, packed.chunks.get) == config


@given(st.integers(0, 2999))
@settings(max_examples=10)
def test_one_changed_account_changes_one_chunk(n: int) -> None:
    """Goal: small changes are cheap. Method: 3,000 accounts in 16 buckets, any one of them changed."""
    config = accounts(range(3000))
    changed = msgspec.structs.replace(config, accounts={**config.accounts, str(n): AccountSpec(home_folder_path="/y")})
    before, after = pack(config), pack(changed)
    assert len(before.buckets) == len(after.buckets) == 16
    assert len(set(after.chunks) - set(before.chunks)) == 1


def test_what_does_not_fit_is_refused_by_name() -> None:
    """Goal: an author sees which component is too large. Method: one of 3 MB that does not compress."""
    noise = "".join(chunk_name(bytes([n % 256, n // 256])) for n in range(50_000))
    config = Config(accounts={"big": AccountSpec(home_folder_path="/" + noise)})
    with pytest.raises(Invalid) as caught:
        pack(config)
    assert caught.value.problems[0].path == "accounts.big"


def test_a_chunk_that_grows_without_end_is_refused() -> None:
    """Goal: decompression is bounded. Method: 100 MB of zeros under their true name."""
    bomb = zlib.compress(b"0" * 100_000_000, 9)
    with pytest.raises(Invalid, match="larger than"):
        unpack([chunk_name(bomb)], {chunk_name(bomb): bomb}.get)


def test_a_damaged_or_missing_chunk_is_refused() -> None:
    """Goal: nothing unproven is used. Method: take the chunk away; change a byte of it."""
    packed = pack(Config())
    (name,) = packed.chunks
    with pytest.raises(Invalid, match="missing"):
        unpack(packed.buckets, lambda _: None)
    with pytest.raises(Invalid, match="damaged"):
        unpack(packed.buckets, {name: packed.chunks[name] + b"x"}.get)


def test_a_manifest_is_believed_only_as_it_was_signed() -> None:
    """Goal: nobody but the controller publishes. Method: another key, another cluster, a changed byte, no signature."""
    signed, _ = version(7, Config())
    trust = Trust([KEY.public])
    assert verify(signed.data, trust, "test") == signed
    forged = [
        version(7, Config(), SigningKey.generate())[0].data,
        version(7, Config(), cluster="other")[0].data,
        signed.data.replace(b'"version":7', b'"version":8'),
        signed.data.partition(b"\n")[0],
        b"",
        b"\xff\n\xff \xff",
    ]
    for data in forged:
        with pytest.raises(Invalid):
            verify(data, trust, "test")


def test_two_pinned_keys_are_both_believed() -> None:
    """Goal: a key can be replaced without a gap. Method: versions of the old and the new key."""
    new = SigningKey.generate()
    trust = Trust([KEY.public, new.public])
    assert verify(version(1, Config())[0].data, trust, "test")
    assert verify(version(2, Config(), new)[0].data, trust, "test")


def test_an_older_program_is_told_so() -> None:
    """Goal: a version for newer programs is rejected with the reason. Method: older, same and newer programs."""
    manifest = version(1, Config())[0].manifest
    assert program_problem(manifest, "0.0.9")
    assert not program_problem(manifest, "0.1.0")
    assert not program_problem(manifest, "0.10.0+local")


def store(folder: Path, keep: int | None = 5) -> DiskStore:
    """Return a store that believes the test's key."""
    return DiskStore(folder, "test", Trust([KEY.public]), keep=keep)


def test_a_store_keeps_the_last_five_and_their_chunks(tmp_path: Path) -> None:
    """Goal: bounded, and nothing needed is lost. Method: eight versions; count files; load all that are left."""
    disk = store(tmp_path)
    for n in range(1, 9):
        assert disk.save(*version(n, accounts({f"u{n}"}))).manifest.version == n
    assert disk.versions() == (4, 5, 6, 7, 8)
    assert all(f"u{n}" in disk.load(n).config.accounts for n in disk.versions())
    assert len(list((tmp_path / "chunks").iterdir())) == 5
    assert (tmp_path / "versions" / "000000000008").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "chunks").stat().st_mode & 0o777 == 0o700


def test_a_damaged_version_is_passed_over_and_stays(tmp_path: Path) -> None:
    """Goal: a node starts from the newest valid one. Method: damage the newest manifest, then the next one's chunk."""
    disk = store(tmp_path)
    for n in (1, 2, 3):
        disk.save(*version(n, accounts({f"u{n}"})))
    newest = tmp_path / "versions" / "000000000003"
    newest.write_bytes(b"broken")
    chunk = tmp_path / "chunks" / disk.manifest(2).manifest.buckets[0]
    chunk.write_bytes(b"broken")
    found, problems = disk.newest()
    assert found is not None
    assert found.manifest.version == 1
    assert [problem.path for problem in problems] == [str(newest), str(tmp_path / "versions" / "000000000002")]
    disk.save(*version(4, accounts({"u4"})))
    assert newest.read_bytes() == b"broken"
    disk.save(*version(2, accounts({"u2"})))
    assert disk.load(2), "what is fetched again heals a damaged chunk"


def test_nothing_is_written_of_a_version_that_cannot_be_used(tmp_path: Path) -> None:
    """Goal: checked before it is written. Method: a version whose chunk is missing, and one that does not decode."""
    signed, _ = version(1, Config())
    with pytest.raises(Invalid):
        store(tmp_path).save(signed, {})
    bad = zlib.compress(b'{"accounts/x":{"home_folder_path":5}}')
    manifest = msgspec.structs.replace(signed.manifest, buckets=(chunk_name(bad),))
    with pytest.raises(Invalid) as caught:
        store(tmp_path).save(sign(manifest, KEY), {chunk_name(bad): bad})
    assert caught.value.problems[0].path == "accounts.x.home_folder_path"
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_and_a_missing_version(tmp_path: Path) -> None:
    """Goal: a first start is no error. Method: look into a folder that does not exist."""
    disk = store(tmp_path / "none")
    assert disk.newest() == (None, ())
    assert disk.high_water() is None
    with pytest.raises(NotFound):
        disk.load(1)


def test_the_high_water_mark_survives_and_damage_is_told(tmp_path: Path) -> None:
    """Goal: a node never goes backwards unknowingly. Method: write, read, damage."""
    disk = store(tmp_path)
    mark = HighWater(incarnation="life", version=9)
    disk.raise_high_water(mark)
    assert store(tmp_path).high_water() == mark
    (tmp_path / "high-water.json").write_text("{")
    with pytest.raises(Invalid):
        disk.high_water()
