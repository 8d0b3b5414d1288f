"""Small disks: a file system of its own that a test can fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, size_bytes: int, files_max: int = 0) -> Iterator[None]:
    """Mount a file system of this size for as long as the block lasts; skips the test where that is not permitted.

    `files_max` bounds files and folders, its own one among them; 0: no bound.
    """
    options = f"size={size_bytes},nr_inodes={files_max},mode=777"
    command = ["mount", "-t", "tmpfs", "-o", options, "mft-tests", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)
