"""The controller's own files: keys that must be backed up and that no node has. Folder 0700, files 0600.

    signing.key   Ed25519 seed, base64: signs every version of the config
    trust.json    what nodes pin: cluster key and signing key's public part
    public.json   the public part alone, for `mft-node --trust FILE`
    admin.token   what `mft-admin` shows to be let in
    store/        every version of the config
    nodes.json    which nodes there are, life.json what is known of etcd: to notice a restore and to survive a loss

These functions block.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import NamedTuple

from mft.cluster import files, trust_file
from mft.cluster.keys import part
from mft.cluster.seal import generate_key
from mft.cluster.sign import SigningKey, Trust, from_text, to_text
from mft.cluster.trust_file import Pinned
from mft.errors import Conflict, Invalid, Unavailable

SIGNING_KEY, PUBLIC, TOKEN, STORE, NODES = "signing.key", "public.json", "admin.token", "store", "nodes.json"
TOKEN_BYTES = 32


class Home(NamedTuple):
    """What a controller knows that nobody else does."""

    folder: Path
    pinned: Pinned
    signing_key: SigningKey
    token: str

    def __repr__(self) -> str:
        return f"Home({str(self.folder)!r})"  # Never a key in a log or a traceback.


def init(folder: Path, cluster: str) -> Home:
    """Make the keys of a new cluster. Raises `Conflict` if the folder already holds a controller's keys."""
    part(cluster, "the cluster's name")
    files.make_folder(folder)
    for name in (SIGNING_KEY, trust_file.FILE, TOKEN):
        if (folder / name).exists():
            raise Conflict(f"{folder} already holds the keys of a cluster ({name}): choose another folder")
    try:
        folder.chmod(files.FOLDER_MODE)
    except OSError as error:
        raise Unavailable(f"cannot protect folder {folder}: {error.strerror}") from error
    key, token = SigningKey.generate(), secrets.token_urlsafe(TOKEN_BYTES)
    pinned = Pinned(
        cluster=cluster,
        signing_keys=(to_text(key.public),),
        cluster_keys=(to_text(generate_key()),),
        incarnation=new_incarnation(),
    )
    files.write(folder / TOKEN, token.encode() + b"\n")
    trust_file.write_trust(folder / PUBLIC, cluster, Trust([key.public]))
    trust_file.save(folder, pinned)
    # Last: a folder with this file is whole.
    files.write(folder / SIGNING_KEY, to_text(key.seed()).encode() + b"\n")
    return Home(folder, pinned, key, token)


def load(folder: Path, cluster: str) -> Home:
    """Read a controller's keys. Raises `Invalid` if they are missing, damaged or of another cluster."""
    seed, pinned, token = files.read(folder / SIGNING_KEY), trust_file.load(folder), files.read(folder / TOKEN)
    if seed is None or pinned is None or token is None:
        raise Invalid(f"{folder} holds no keys of a cluster: run `mft-controller init` first")
    if pinned.cluster != cluster:
        raise Invalid(f"{folder} holds the keys of cluster {pinned.cluster!r}, not of {cluster!r}")
    raw = from_text(seed.decode("ascii", "replace").strip(), f"{folder / SIGNING_KEY}")
    try:
        key = SigningKey(raw)
    except ValueError as error:
        raise Invalid(f"{folder / SIGNING_KEY} is damaged") from error
    if to_text(key.public) not in pinned.signing_keys:
        raise Invalid(f"{folder / SIGNING_KEY} does not belong to {folder / trust_file.FILE}")
    text = token.decode("ascii", "replace").strip()
    if len(text) < TOKEN_BYTES:
        raise Invalid(f"{folder / TOKEN} is too short to be safe")
    return Home(folder, pinned, key, text)


def new_incarnation() -> str:
    """Make the id of a new life of the store."""
    return secrets.token_hex(8)
