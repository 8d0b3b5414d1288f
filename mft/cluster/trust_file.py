"""What an instance has pinned of its cluster: who may sign a config, and the key that opens its secrets.

`trust.json` in the data folder, mode 0600, written once when the instance joins. Blocks: call it from a thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from mft.cluster import files
from mft.cluster.seal import KEY_BYTES, Sealer
from mft.cluster.sign import Trust, from_text, public_key_of, to_text
from mft.errors import Invalid

FILE = "trust.json"
T = TypeVar("T")


class Pinned(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an instance knows of its cluster. Keys are base64; the newest cluster key is first."""

    cluster: str
    signing_keys: tuple[str, ...]
    cluster_keys: tuple[str, ...]
    incarnation: str

    def __repr__(self) -> str:
        return f"Pinned(cluster={self.cluster!r})"  # Never a key in a log or a traceback.

    def trust(self) -> Trust:
        """Return who may sign. Raises `Invalid` if a key is damaged."""
        return Trust(public_key_of(key) for key in self.signing_keys)

    def sealer(self) -> Sealer:
        """Return what opens the cluster's secrets. Raises `Invalid` if a key is damaged."""
        keys = [from_text(key, "a cluster key") for key in self.cluster_keys]
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise Invalid("the cluster's key is damaged", code="MFT-TRUST-1004")
        return Sealer(self.cluster, keys)


class TrustFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator carries to a new node by hand (`--trust FILE`): no secret in it."""

    cluster: str
    signing_keys: tuple[str, ...]


def load(folder: Path) -> Pinned | None:
    """Return what is pinned in the folder, or None if nothing is. Raises `Invalid` if the file is damaged."""
    data = files.read(folder / FILE)
    if data is None:
        return None
    pinned = _decode(data, Pinned, folder / FILE)
    pinned.trust()
    pinned.sealer()
    return pinned


def save(folder: Path, pinned: Pinned) -> None:
    """Pin it."""
    files.make_folder(folder)
    files.write(folder / FILE, msgspec.json.encode(pinned))


def load_trust(path: Path, cluster: str) -> Trust:
    """Read the file that `--trust` names. Raises `Invalid` if it is damaged or of another cluster."""
    data = files.read(path)
    if data is None:
        raise Invalid(f"there is no trust file {path}")
    given = _decode(data, TrustFile, path)
    if given.cluster != cluster:
        raise Invalid(f"{path} is of cluster {given.cluster!r}, not {cluster!r}")
    return Trust(public_key_of(key) for key in given.signing_keys)


def write_trust(path: Path, cluster: str, trust: Trust) -> None:
    """Write the file that `--trust` takes."""
    given = TrustFile(cluster=cluster, signing_keys=tuple(map(to_text, trust.public_keys)))
    files.write(path, msgspec.json.format(msgspec.json.encode(given)) + b"\n")


def _decode(data: bytes, kind: type[T], path: Path) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Invalid(f"{path} cannot be read: {error}", code="MFT-TRUST-1004") from error
