"""A real OpenSSH server that takes passwords: without PAM it asks the system's, so it sees a shadow file of its own."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
from pathlib import Path

import pytest

from tests.rig.sshd import Sshd

_MOUNT = 'mount --bind "$0" /etc/shadow && NSS_WRAPPER_SHADOW="$0" exec "$@"'
"""The fetched sshd may run with nss_wrapper, which asks for the file by that name; others do not know it."""


class PasswordSshd(Sshd):
    """One OpenSSH server for whose user `password` is right. Its shadow file is mounted for it and its children alone.

    `methods` are the ways to log in of which all are wanted, as in sshd_config: `password`, `publickey,password`.
    """

    def __init__(self, folder: Path, methods: str) -> None:
        super().__init__(folder)
        self.password = secrets.token_hex(8)
        """Another one each time: who can log in here can do all that the tests can."""
        shadow = folder / "shadow"
        shadow.touch(0o600)
        shadow.write_text(f"{self.user}:{_hashed(self.password)}:20000:0:99999:7:::\n", "utf-8")
        settings = f"PermitRootLogin yes\nPasswordAuthentication yes\nAuthenticationMethods {methods}\n"
        config = folder / "sshd_config"
        config.write_text(settings + config.read_text("utf-8"), "utf-8")  # Of two lines the first one counts.
        before = ["unshare", "--mount", "sh", "-c", _MOUNT, str(shadow)]
        if os.geteuid() or subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
            pytest.skip("sshd takes the system's passwords, and this user may not mount a shadow file of its own")
        self.command = [*before, *self.command]


def _hashed(password: str) -> str:
    """Hash as the system does: Python's own module for it is about to go."""
    try:
        library = ctypes.CDLL("libcrypt.so.1")
    except OSError:
        pytest.skip("the system's library of password hashes is not here")
    library.crypt.restype = ctypes.c_char_p
    hashed: bytes = library.crypt(password.encode(), f"$6${secrets.token_hex(4)}$".encode())
    return hashed.decode()
