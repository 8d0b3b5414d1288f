"""A real OpenSSH server that has no SFTP: it runs commands, with the tools of this machine or of a small appliance."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.rig.binaries import SERVERS
from tests.rig.sshd import Sshd

TOOLS = ("sh", "cat", "dd", "env", "find", "head", "mkdir", "mv", "rm", "rmdir", "sha256sum", "stat", "sync", "tail")
"""What a partner needs to be spoken to without SFTP; the shell has `test` built in."""


class ShellSshd(Sshd):
    """One OpenSSH server without the subsystem. With `busybox` commands find the tools of that program alone.

    `settings` are further lines of its config; they win over the usual ones.
    """

    def __init__(self, folder: Path, busybox: Path | None = None, settings: tuple[str, ...] = ()) -> None:
        super().__init__(folder)
        config = folder / "sshd_config"
        lines = config.read_text("utf-8").splitlines()
        kept = [line for line in lines if not line.startswith(("Subsystem", "ForceCommand"))]
        # The start-up files of whoever runs the tests are nothing to wait for.
        environment = f"SetEnv HOME={self.home}"
        if busybox is not None:
            tools = folder / "tools"
            tools.mkdir()
            for name in TOOLS:
                (tools / name).symlink_to(busybox)
            environment += f" PATH={tools}"
        config.write_text("\n".join([*settings, *kept, environment, ""]), "utf-8")


def find_busybox() -> Path | None:
    """Return the path of busybox itself, not of a wrapper: it goes by the name it is called by."""
    fetched = SERVERS / "root" / "bin" / "busybox"
    found = fetched if fetched.exists() else shutil.which("busybox")
    return Path(found) if found else None
