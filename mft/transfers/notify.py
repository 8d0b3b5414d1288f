"""Tells that a file has come into a local folder (inotify), so that a transfer looks before its poll does.

Never the only way: storage that other machines write to tells nothing, and a watch may be lost. So whatever cannot be
watched is only reported once; the poll goes on in any case.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mft.aio import Latest
from mft.transfers.remotes.base import join

_STEP_MS = 100
"""How often the watching thread looks whether something came, and whether it is to end."""
_TOGETHER_MS = 400
"""Changes within this time are told together."""
_LOOK_AGAIN_S = 60.0
"""How often folders are looked for that were not there, or that were replaced: inotify watches a folder, not a name."""


class Folder(NamedTuple):
    """What is watched for one transfer."""

    path: str
    """Absolute."""
    recursive: bool


Folders = Mapping[str, Folder]
"""Transfer → its source folder."""


def concerns(folder: Folder, path: str) -> bool:
    """Say whether a change of this path may be a file for a transfer with this folder; pure."""
    below = path.removeprefix(folder.path.rstrip("/") + "/")
    if below == path or not below:
        return False
    parts = below.split("/")
    # Hidden ones are never taken: our own folder for taken sources is among them, and producers' unfinished files.
    return (folder.recursive or len(parts) == 1) and not any(part.startswith(".") for part in parts)


class Notifier:
    """Watches the folders of a leader group's transfers. `came` and `failed` are called in the event loop."""

    def __init__(
        self, folders: Latest[Folders], came: Callable[[str], None], failed: Callable[[str, str, str], None]
    ) -> None:
        self._folders = folders
        self._came = came
        self._failed = failed
        self._told: set[tuple[str, Folder]] = set()

    async def run(self) -> None:
        """Watch until cancelled, always the folders that are wanted now."""
        stop = threading.Event()
        watched: Folders = {}
        try:
            async for folders in self._folders.follow():
                if folders == watched:
                    continue
                stop.set()
                stop, watched = threading.Event(), folders
                self._told &= set(folders.items())
                for recursive in (False, True):
                    mine = {transfer: folder for transfer, folder in folders.items() if folder.recursive is recursive}
                    if mine:
                        self._begin(mine, recursive, stop)
        finally:
            stop.set()

    def _begin(self, folders: Folders, recursive: bool, stop: threading.Event) -> None:
        """Have a thread watch these folders until `stop` is set."""
        loop = asyncio.get_running_loop()

        def tell(call: Callable[..., None], *words: Any) -> None:
            if not stop.is_set():
                loop.call_soon_threadsafe(call, *words)

        watcher = _Watcher(folders, recursive, stop, partial(tell, self._came), partial(tell, self._tell_failed))
        # A thread of its own, for which no end waits: storage that hangs would hold up everything.
        threading.Thread(target=watcher.run, name="notify", daemon=True).start()

    def _tell_failed(self, transfer: str, folder: Folder, reason: str) -> None:
        if (transfer, folder) not in self._told:
            self._told.add((transfer, folder))
            self._failed(transfer, folder.path, reason)


class _Watcher:
    """What one thread does."""

    def __init__(
        self,
        folders: Folders,
        recursive: bool,
        stop: threading.Event,
        came: Callable[[str], None],
        failed: Callable[[str, Folder, str], None],
    ) -> None:
        self._folders = folders
        self._recursive = recursive
        self._stop = stop
        self._came = came
        self._failed = failed

    def run(self) -> None:
        """Watch until told to stop, whatever comes."""
        while not self._stop.is_set():
            there = _identities(folder.path for folder in self._folders.values())
            for transfer, folder in self._folders.items():
                if folder.path not in there:
                    self._failed(transfer, folder, "there is no such folder")
            try:
                if there:
                    self._watch(there)
                    continue
            except (
                OSError,
                RuntimeError,
            ) as error:  # No watches left, a folder that has just gone, the library's bugs.
                for transfer, folder in self._folders.items():
                    self._failed(transfer, folder, str(error))
            self._stop.wait(_LOOK_AGAIN_S)

    def _watch(self, there: Mapping[str, tuple[int, int]]) -> None:
        """Watch these folders until they are others than they were."""
        from watchfiles import Change, watch  # Here: it takes a third of a second, and few agents need it.

        looked = time.monotonic()
        for changes in watch(
            *sorted(there),
            watch_filter=None,
            debounce=_TOGETHER_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            rust_timeout=int(_LOOK_AGAIN_S * 1000),
            yield_on_timeout=True,
            recursive=self._recursive,
            raise_interrupt=False,
        ):
            came = [path for change, path in changes if change is not Change.deleted]
            for transfer, folder in self._folders.items():
                if any(concerns(folder, path) for path in came):
                    self._came(transfer)
            if time.monotonic() - looked >= _LOOK_AGAIN_S:
                looked = time.monotonic()
                if _identities(folder.path for folder in self._folders.values()) != there:
                    return


def _identities(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Give path → device and inode of the folders that are there."""
    found = {}
    for path in paths:
        try:
            status = Path(path).stat()
        except OSError:
            continue
        found[path] = (status.st_dev, status.st_ino)
    return found


def folder_path(root: str, source_path: str) -> str:
    """Give the absolute path of a source folder at a local location."""
    return os.path.normpath(join(root, source_path))
