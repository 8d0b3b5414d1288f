"""Whether two folders of a config are one, or one below the other, whatever their locations are called."""

from __future__ import annotations

from typing import NamedTuple

from mft.model.config import Config
from mft.model.locations import LocalLocationSpec, SshLocationSpec
from mft.model.transfers import TransferSpec


class _Place(NamedTuple):
    storage: tuple[str, ...]
    """What two folders must have in common to be comparable."""
    parts: tuple[str, ...]


def is_source_folder(config: Config, transfer: TransferSpec, location: str, path: str) -> bool:
    """Say whether a folder is the one from which the transfer takes."""
    return _place(config, location, path) == _place(config, transfer.source_location, transfer.source_path)


def is_looked_into(config: Config, transfer: TransferSpec, location: str, path: str) -> bool:
    """Say whether the transfer takes from this folder: it is its source folder, or one below that is walked."""
    outer, inner = _place(config, transfer.source_location, transfer.source_path), _place(config, location, path)
    if inner == outer:
        return True
    below = inner.parts[len(outer.parts) :]
    is_below = inner.storage == outer.storage and inner.parts[: len(outer.parts)] == outer.parts
    # Hidden folders are never looked into.
    return transfer.recursive and is_below and not any(part.startswith(".") for part in below)


def _place(config: Config, location: str, path: str) -> _Place:
    match config.locations.get(location):
        case LocalLocationSpec(root=root):
            return _Place(("local",), (*_parts(root), *_parts(path)))
        case SshLocationSpec(address=address, port=port, username=username):
            start = "/" if path.startswith("/") else "login"
            return _Place(("ssh", address, str(port), username, start), _parts(path))
        case _:
            return _Place(("", location), _parts(path))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))
