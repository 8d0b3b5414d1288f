"""Versions of the config on disk: a node's snapshots (the last five), a controller's store (all of them).

    <folder>/chunks/<sha256>           buckets, shared by all versions that have them
    <folder>/versions/<N, 12 digits>   signed manifests, written after their chunks
    <folder>/high-water.json           the greatest version ever accepted from etcd

A version is checked whole before it is written and read back after. A damaged one is reported and passed over, never
deleted. Everything here blocks: call it from a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from mft.cluster import files
from mft.cluster.buckets import chunk_name, unpack
from mft.cluster.manifest import Manifest, Signed, verify
from mft.cluster.sign import Trust
from mft.errors import Invalid, MftError, NotFound, Problem, Unavailable
from mft.model.config import Config

VERSIONS_KEPT = 5


class Version(NamedTuple):
    """One version, verified: its manifest and its content, with secrets still sealed."""

    manifest: Manifest
    data: bytes
    """The manifest as it was signed."""
    config: Config


class HighWater(Struct, frozen=True, kw_only=True):
    """The greatest version accepted from etcd, and the store's life in which it was."""

    incarnation: str
    version: int


class DiskStore:
    """Versions in a folder. With `keep` older ones are removed once a newer one is safe."""

    def __init__(self, folder: Path, cluster: str, trust: Trust, *, keep: int | None = VERSIONS_KEPT) -> None:
        self._folder = folder
        self._chunks = folder / "chunks"
        self._versions = folder / "versions"
        self._cluster = cluster
        self._trust = trust
        self._keep = keep

    def chunk(self, name: str) -> bytes | None:
        """Return a chunk, or None if it is missing or damaged: then fetch it again."""
        data = files.read(self._chunks / name)
        return data if data is not None and chunk_name(data) == name else None

    def chunks(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return those of the chunks that are here and undamaged."""
        return {name: data for name in dict.fromkeys(names) if name and (data := self.chunk(name)) is not None}

    def save(self, signed: Signed, chunks: Mapping[str, bytes] | Callable[[str], bytes | None]) -> Version:
        """Store a version whose manifest was verified; `chunks` gives what is not here yet. Return it as read back.

        Raises `Invalid` before anything is written if a chunk is missing or the content does not decode, and
        `Unavailable` if the disk does not take it.
        """
        given = chunks if callable(chunks) else chunks.get
        missing: dict[str, bytes] = {}

        def source(name: str) -> bytes | None:
            if (present := self.chunk(name)) is not None:
                return present
            if (new := given(name)) is not None:
                missing[name] = new
            return new

        unpack(signed.manifest.buckets, source)
        for folder in (self._folder, self._chunks, self._versions):
            files.make_folder(folder)
        for name, data in missing.items():
            files.write(self._chunks / name, data, flush_folder=False)
        if missing:
            files.flush(self._chunks)
        files.write(self._path(signed.manifest.version), signed.data)
        try:
            stored = self.load(signed.manifest.version)
        except (Invalid, NotFound) as error:
            raise Unavailable(f"version {signed.manifest.version} reads back damaged: {error}") from error
        self._prune()
        return stored

    def load(self, number: int) -> Version:
        """Read one version, verified whole. Raises `NotFound`, or `Invalid` if it is damaged."""
        signed = self.manifest(number)
        return Version(signed.manifest, signed.data, unpack(signed.manifest.buckets, self.chunk))

    def manifest(self, number: int) -> Signed:
        """Read one version's manifest, verified. Raises `NotFound` or `Invalid`."""
        data = files.read(self._path(number))
        if data is None:
            raise NotFound(f"version {number} is not in {self._folder}")
        signed = verify(data, self._trust, self._cluster)
        if signed.manifest.version != number:
            raise Invalid(f"the file of version {number} holds version {signed.manifest.version}")
        return signed

    def newest(self, *, below: int | None = None) -> tuple[Version | None, tuple[Problem, ...]]:
        """Return the newest valid version (less than `below`) and what was wrong with each newer one.

        With problems, the version that is returned is *stale*: say so wherever its state is shown.
        """
        problems: list[Problem] = []
        for number in sorted(self.versions(), reverse=True):
            if below is not None and number >= below:
                continue
            try:
                return self.load(number), tuple(problems)
            except MftError as error:
                problems.append(Problem(str(self._path(number)), str(error)))
        return None, tuple(problems)

    def versions(self) -> tuple[int, ...]:
        """List the numbers of the versions that have a file here, valid or not, oldest first."""
        if not self._versions.is_dir():
            return ()
        return tuple(sorted(int(path.name) for path in self._versions.iterdir() if path.name.isdigit()))

    def high_water(self) -> HighWater | None:
        """Return the greatest version ever accepted from etcd. Raises `Invalid` if its file is damaged."""
        data = files.read(self._folder / "high-water.json")
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=HighWater)
        except msgspec.DecodeError as error:
            raise Invalid(f"{self._folder / 'high-water.json'} is damaged: {error}") from error

    def raise_high_water(self, mark: HighWater) -> None:
        """Remember a version as accepted from etcd."""
        files.make_folder(self._folder)
        files.write(self._folder / "high-water.json", msgspec.json.encode(mark))

    def _path(self, number: int) -> Path:
        return self._versions / f"{number:012d}"

    def _prune(self) -> None:
        """Remove versions that are no longer kept, and chunks that no version names any more."""
        if self._keep is None:
            return
        valid = dict(self._readable())
        for number in sorted(valid)[: -self._keep]:
            self._path(number).unlink(missing_ok=True)
            del valid[number]
        used = {name for manifest in valid.values() for name in manifest.buckets}
        for path in self._chunks.iterdir():
            # Whoever died while writing left a temp file; nothing else ever reads one.
            if path.name not in used:
                path.unlink(missing_ok=True)

    def _readable(self) -> Iterator[tuple[int, Manifest]]:
        for number in self.versions():
            try:
                yield number, self.manifest(number).manifest
            except MftError:
                continue  # Damaged: stays for whoever looks into it, and does not count among those kept.
