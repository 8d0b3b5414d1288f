"""A real ProFTPD with its SFTP module on 127.0.0.1: one user, login by password.

Unlike OpenSSH's server it hashes files, and does not say in which order it works.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from tests.rig.binaries import find
from tests.rig.processes import ServerProcess
from tests.rig.sshd import READY_LIMIT_S, greets, make_key
from tests.rig.waiting import eventually, free_port

PASSWORD = "correct horse"
_HASH = "$6$mft$gCbP8S1kl8WM.ho319foKjwMIrdWr95HBfMMOCCab8EGq6rAf1kybsszg8GV.2R7dH7YWRVpdXWyCdou3q/1l/"

CONFIG = """\
ServerType standalone
DefaultServer on
DefaultAddress 127.0.0.1
UseIPv6 off
Port {port}
ModulePath {modules}
LoadModule mod_sftp.c
User {user}
Group {group}
AuthOrder mod_auth_file.c
AuthUserFile {folder}/passwd
AuthGroupFile {folder}/group
RequireValidShell off
RootLogin on
UseReverseDNS off
WtmpLog off
TransferLog none
DelayEngine off
AllowOverwrite on
AllowStoreRestart on
MaxLoginAttempts 10
PidFile {folder}/pid
ScoreboardFile {folder}/scoreboard
SFTPEngine on
SFTPHostKey {host_key}
SFTPAuthMethods password
SFTPOptions IgnoreSFTPSetTimes
SFTPLog none
"""


class Proftpd(ServerProcess):
    """One ProFTPD; `kill` takes open sessions along."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host, self.port, self.user = "127.0.0.1", free_port(), "tester"
        host_key = make_key(folder / "host_key")
        self.host_key = host_key.with_suffix(".pub").read_text("utf-8").strip()
        """The server's public key: `ssh-ed25519 AAAA… test`."""
        home = folder / "home"
        home.mkdir()
        self._write(folder / "passwd", f"{self.user}:{_HASH}:{os.getuid()}:{os.getgid()}:x:{home}:/bin/sh\n")
        self._write(folder / "group", f"testers:x:{os.getgid()}:\n")
        program = find("proftpd")
        modules = program.parents[1] / "root/usr/lib/proftpd"
        config = folder / "proftpd.conf"
        text = CONFIG.format(
            port=self.port,
            modules=modules if modules.is_dir() else "/usr/lib/proftpd",
            user=pwd.getpwuid(os.getuid()).pw_name,
            group=grp.getgrgid(os.getgid()).gr_name,
            folder=folder,
            host_key=host_key,
        )
        self._write(config, text)
        super().__init__([program, "-n", "-c", config], folder / "proftpd.log")

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text, "utf-8")
        path.chmod(0o600)  # It refuses to believe what others could have written.

    async def start(self) -> None:
        """Start it and wait until it greets."""
        self.launch()

        async def is_up() -> bool:
            assert self.running(), "proftpd has ended"
            return await greets(self.host, self.port)

        with self.explained():
            await eventually(is_up, READY_LIMIT_S, what="proftpd greets")
