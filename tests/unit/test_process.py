"""What every process of the program does with itself."""

from __future__ import annotations

import subprocess
import sys

CYCLES = """
import weakref
from mft.process import collect_rarely

class Node: pass

collect_rarely()
alive, most = weakref.WeakSet(), 0
for number in range(400_000):
    node = Node()
    node.itself = node
    alive.add(node)
    most = max(most, len(alive))
print(most)
"""


def test_garbage_is_still_collected() -> None:
    """Goal: a process that looks rarely for garbage does not grow for ever. Method: many cycles; how many live on."""
    done = subprocess.run([sys.executable, "-c", CYCLES], capture_output=True, text=True, check=True)
    assert 1_000 < int(done.stdout) < 150_000
