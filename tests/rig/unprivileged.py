"""What only shows without root's rights: for it no folder and no file is closed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Give up root's rights, in all threads, for as long as the block lasts; give a folder of whom it is then.

    It stands apart from the tests' own, which are closed to others. Who has no such rights gives up nothing.
    """
    folder = Path(tempfile.mkdtemp(prefix="mft-tests-", dir="/tmp"))
    user, group = os.geteuid(), os.getegid()
    try:
        if user == 0:
            os.chown(folder, _NOBODY, _NOBODY)
            os.setegid(_NOBODY)
            os.seteuid(_NOBODY)
        yield folder
    finally:
        os.seteuid(user)
        os.setegid(group)
        shutil.rmtree(folder)


@contextmanager
def closed(path: Path, mode: int = 0) -> Iterator[None]:
    """Take rights at a file or folder away from its owner for as long as the block lasts."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)
