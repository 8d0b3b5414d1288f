"""Networks of the tests' own: each program in a network namespace, with roads to services here that can be cut.

    here   198.18.N.1, 198.18.N.2 …      addresses of services, on this side of every pair
    NAME   198.18.N.10, .11 …            one namespace each, joined by a pair of virtual interfaces

198.18.0.0/15 is for tests of networks (RFC 2544); nobody is there.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.rig.binaries import find

_CALL_S = 30.0


def _ip(*arguments: str) -> None:
    done = subprocess.run([find("ip"), *arguments], capture_output=True, text=True, timeout=_CALL_S, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Networks:
    """Namespaces with roads to addresses of this side. Made by `networks`."""

    def __init__(self, names: Sequence[str], services: Sequence[str]) -> None:
        net, run = random.randrange(1, 255), f"{os.getpid():x}"[-6:]
        self.names = tuple(names)
        self.addresses = {name: f"198.18.{net}.{n}" for n, name in enumerate(services, 1)}
        """Service → its address here, the same seen from all namespaces."""
        self._own = {name: f"198.18.{net}.{n}" for n, name in enumerate(names, 10)}
        self._spaces = {name: f"mft-{run}-{name}" for name in names}
        self._pairs = {name: f"mft{run}{name}" for name in names}

    def make(self) -> None:
        """Make the namespaces and the roads. Raises `OSError` where that is not permitted."""
        for name, space in self._spaces.items():
            _ip("netns", "add", space)
            near = self._pairs[name]
            _ip("link", "add", near, "type", "veth", "peer", "name", "road", "netns", space)
            if name == self.names[0]:
                for address in self.addresses.values():
                    _ip("address", "add", f"{address}/32", "dev", near)
            _ip("link", "set", near, "up")
            _ip("route", "add", self._own[name], "dev", near)
            for command in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{self._own[name]}/32", "dev", "road"),
                ("link", "set", "road", "up"),
                *(("route", "add", address, "dev", "road") for address in self.addresses.values()),
            ):
                _ip("-netns", space, *command)

    def remove(self) -> None:
        """Remove all of it; what was not made is no error.

        A namespace without a name lives on until its last connection has given up; its road goes at once.
        """
        for name in self.names:
            for command in (("link", "delete", self._pairs[name]), ("netns", "delete", self._spaces[name])):
                with contextlib.suppress(OSError):
                    _ip(*command)

    def enter(self, name: str) -> list[str]:
        """Give the words before a command that runs it in this namespace, under the pid that was started."""
        return ["nsenter", f"--net={Path('/run/netns', self._spaces[name])}", "--"]

    def cut(self, name: str, service: str) -> None:
        """Let whatever this namespace sends to the service vanish, on open connections too: it goes to nobody's MAC."""
        where = ("lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", "road")
        _ip("-netns", self._spaces[name], "neighbour", "replace", self.addresses[service], *where)

    def mend(self, name: str, service: str) -> None:
        """Open the road again."""
        _ip("-netns", self._spaces[name], "neighbour", "delete", self.addresses[service], "dev", "road")


@contextlib.contextmanager
def networks(names: Sequence[str], services: Sequence[str]) -> Iterator[Networks]:
    """Make namespaces for the block; the test is skipped where the kernel forbids them."""
    made = Networks(names, services)
    try:
        try:
            made.make()
        except OSError as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield made
    finally:
        made.remove()
