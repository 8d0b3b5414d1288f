"""What every process of the program does with itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

CYCLES = """
import collections, weakref
from mft.process import collect_rarely

class Node: pass

collect_rarely()
alive, used, most = weakref.WeakSet(), collections.deque(maxlen=USED), 0
for number in range(1_000_000):
    node = Node()
    node.itself = node
    alive.add(node)
    used.append(node)
    most = max(most, len(alive))
print(most - USED)
"""


@pytest.mark.parametrize("used", [0, 60_000])
def test_garbage_is_still_collected(used: int) -> None:
    """Goal: a process that looks rarely for garbage does not grow for ever. Method: many cycles; how many live on.

    Those that are used for a while grow old before they are garbage, like a connection with all that belongs to it.
    """
    script = CYCLES.replace("USED", str(used))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 1_000 < int(done.stdout) < 400_000
