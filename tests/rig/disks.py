"""Small disks: a file system of its own that a test can fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[None]:
    """Mount a file system of this size for as long as the block lasts; skips the test where that is not permitted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=777", "mft-tests", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)
