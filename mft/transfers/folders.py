"""Folders that a path needs: made where they are missing, known once they were seen."""

from __future__ import annotations

from mft.transfers.context import RunContext
from mft.transfers.remotes.base import Remote, join

_KNOWN_MAX = 10_000
"""Folders remembered in one run."""


async def make_folders(context: RunContext, target: str, *, anew: bool = False) -> None:
    """Make the folders of a path under the destination folder. The destination folder itself must be there.

    That one is never made: where storage is not mounted, files would go to the mount point. `anew`: forget what was
    seen earlier in this run.
    """
    folder = target.rpartition("/")[0]
    if not folder:
        return
    if anew or len(context.folders) >= _KNOWN_MAX:
        context.folders.clear()
    if folder not in context.folders:
        context.permit.check()
        await make_path(context.destination, context.spec.destination_path, folder)
        context.folders.add(folder)


async def make_path(remote: Remote, root: str, folder: str) -> None:
    """Make each missing folder of the path `folder` under `root`; never removes anything."""
    path = root
    for part in folder.split("/"):
        path = join(path, part) if path or not folder.startswith("/") else f"/{part}"
        if path not in {"", "/"}:
            await remote.make_folder(path)
