"""The files that the demo sends: of mixed sizes, the same for the same seed, each with the hash that must arrive."""

from __future__ import annotations

import hashlib
import math
import random
from pathlib import Path
from typing import NamedTuple

SIZE_BYTES_LEAST, SIZE_BYTES_MOST = 8, 4 * 1024 * 1024
"""From a flag file to a scanned document. Sizes are even on a logarithmic scale."""


class SampleFile(NamedTuple):
    """One file to be sent."""

    path: Path
    size_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """Its name, which it keeps on the whole way."""
        return self.path.name


def make_files(folder: Path, count: int, seed: int) -> tuple[SampleFile, ...]:
    """Write `count` files into the folder, which is made; blocks for some tenths of a second."""
    folder.mkdir(parents=True)
    draw = random.Random(seed)
    block = draw.randbytes(SIZE_BYTES_MOST)
    files = []
    for number in range(1, count + 1):
        path = folder / f"order-{number:04d}.dat"
        size = round(math.exp(draw.uniform(math.log(SIZE_BYTES_LEAST), math.log(SIZE_BYTES_MOST))))
        # Each begins at another place of the block, so no two of a size are alike, and no generator has to make them.
        start = draw.randrange(SIZE_BYTES_MOST)
        content = (block[start:] + block[:start])[:size]
        path.write_bytes(content)
        files.append(SampleFile(path, size, hashlib.sha256(content).hexdigest()))
    return tuple(files)
