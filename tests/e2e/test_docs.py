"""The manual's own commands, run as a reader types them: one story over several pages, against the real programs.

A block that begins with ```console tested``` is run: lines with `$ ` are typed into one bash that lasts for all pages,
the lines below are expected in its output, in this order, `…` standing for anything. A block ```toml NAME``` is a file,
and so is ```python NAME```.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.rig.binaries import REPOSITORY, SERVERS, find_etcd
from tests.rig.processes import descendants
from tests.rig.waiting import free_port

MANUAL = (
    "docs/first-cluster.md",
    "docs/join-a-node.md",
    "docs/configure.md",
    "docs/accounts-and-sftp.md",
    "docs/event-log.md",
    "docs/send-files.md",
    "docs/fetch-files.md",
    "docs/schedules.md",
    "docs/watch-transfers.md",
    "docs/api.md",
    "docs/what-happens-when.md",
    "docs/roll-back.md",
    "docs/lose-a-machine.md",
)
BLOCK = re.compile(r"^```(console tested|(?:toml|python) \S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOOKS = re.compile(
    r"(mft-admin (status|restore status|nodes list|config (history|apply)|deliveries|transfers (list|show|run))"
    r"|grep|tail|ls|cat|(echo .*\| )?sftp) ?"
)
"""Commands that may be typed again: what they show comes a moment after what caused it."""
CHANGES = re.compile(r"mft-admin config apply")
LIMIT_S = 80.0
COMMAND_LIMIT_S = 100.0
"""A stop in order may wait for sessions, and for an etcd that is gone."""
PORTS = ("2379", "7443", "2022", "2023")


class Step(NamedTuple):
    """A command with the lines that are to come, or (name given) a file with its content."""

    page: str
    command: str
    expected: tuple[str, ...]
    file: str = ""


def steps(pages: tuple[str, ...]) -> Iterator[Step]:
    """Yield what the pages have a reader do, in order."""
    for page in pages:
        text = (REPOSITORY / page).read_text("utf-8")
        blocks = BLOCK.findall(text)
        assert blocks, f"{page} has nothing that is tested"
        for kind, body in blocks:
            if not kind.startswith("console"):
                yield Step(page, body, (), kind.split()[1])
                continue
            for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield Step(page, command, tuple(line for line in output.splitlines() if line.strip()))


def shows(output: str, expected: tuple[str, ...]) -> bool:
    """Say whether the output has these lines in this order; how wide columns are is of no matter."""
    lines = iter(" ".join(line.split()) for line in output.splitlines())
    return all(any(re.fullmatch(_pattern(wanted), line) for line in lines) for wanted in expected)


def _pattern(wanted: str) -> str:
    return ".*".join(re.escape(" ".join(part.split())) + r"\s*" for part in wanted.split("…"))


class Reader:
    """Somebody at a terminal: one bash in one folder, with the manual's addresses and folders replaced by free ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._replace = {port: str(free_port()) for port in PORTS}
        self._replace["/tmp/mft"] = str(folder / "mft")
        self._pattern = re.compile("|".join(rf"{re.escape(word)}\b" for word in self._replace))
        self._bash: asyncio.subprocess.Process | None = None

    def here(self, text: str) -> str:
        """Return a text of the manual as it reads in this place."""
        return self._pattern.sub(lambda found: self._replace[found[0]], text)

    async def open(self) -> None:
        """Start the shell."""
        askpass = self._folder / "askpass"
        askpass.write_text("#!/bin/sh\necho secret-pass-1\n", "utf-8")
        askpass.chmod(0o700)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MFT_")}
        programs = f"{REPOSITORY / '.venv' / 'bin'}:{kept['PATH']}:{SERVERS / 'bin'}"
        settings = {
            "PATH": programs,
            "LC_ALL": "C.UTF-8",
            "SSH_ASKPASS": str(askpass),
            "SSH_ASKPASS_REQUIRE": "force",
            "MFT_ETCD": str(find_etcd("etcd")),
            "MFT_LISTEN": self.here("127.0.0.1:7443"),
            "MFT_LINK_LISTEN": "127.0.0.1:0",
            "MFT_ADMIN": self.here("127.0.0.1:7443"),
            "MFT_EMBEDDED_ETCD_LISTEN": self.here("127.0.0.1:2379"),
            "MFT_INBOUND_WORKERS": "1",
            "MFT_OUTBOUND_WORKERS": "1",
        }
        examples = self._folder / "work" / "deploy" / "examples"
        examples.mkdir(parents=True)
        (self._folder / "work" / "Makefile").write_text("# what README uploads\n", "utf-8")
        for example in (REPOSITORY / "deploy" / "examples").glob("*.toml"):
            (examples / example.name).write_text(self.here(example.read_text("utf-8")), "utf-8")
        self._bash = await asyncio.create_subprocess_exec(
            *("bash", "--noprofile", "--norc"),
            cwd=self._folder / "work",
            env={**kept, **settings},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def do(self, step: Step) -> None:
        """Do one step; a command that looks is typed again until it shows what it should."""
        if step.file:
            (self._folder / "work" / step.file).write_text(self.here(step.command), "utf-8")
            return
        expected = tuple(self.here(line) for line in step.expected)
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                status, output = await self._type(self.here(step.command))
            except TimeoutError as error:
                raise AssertionError(f"{step.page}: no end of $ {step.command}\n{self._logs()}") from error
            done = (status == 0 or "exit" in step.command) and shows(output, expected)
            may_repeat = LOOKS.match(step.command) and not (CHANGES.match(step.command) and status == 0)
            if done:
                return
            if not may_repeat or time.monotonic() > deadline:
                raise AssertionError(
                    f"{step.page}: $ {step.command}\nexit {status}, and it says:\n{output}{self._logs()}"
                )
            await asyncio.sleep(0.2)

    async def _type(self, command: str) -> tuple[int, str]:
        assert self._bash is not None
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{{ {command}\n}} < /dev/null\nprintf '\\n<end %d>\\n' $?\n".encode())
        output = ""
        async with asyncio.timeout(COMMAND_LIMIT_S):
            while not (end := re.search(r"\n<end (\d+)>\n$", output)):
                line = await self._bash.stdout.readline()
                assert line, f"the shell has ended: {output}"
                output += line.decode("utf-8", "replace")
        return int(end[1]), output[: end.start()]

    def _logs(self) -> str:
        logs = sorted((self._folder / "work").glob("*.log"))
        return "".join(f"\n--- {log.name}\n{log.read_text('utf-8', 'replace')[-1500:]}" for log in logs)

    async def close(self) -> None:
        """End the shell and everything that it started."""
        if self._bash is None:
            return
        for pid in [*descendants(os.getpid())]:
            if self._is_ours(pid):
                _kill(pid)
        if self._bash.returncode is None:
            self._bash.kill()
        await self._bash.communicate()

    def _is_ours(self, pid: int) -> bool:
        """Say whether a process stands in the reader's folder: one whose parent was killed is the shell's no more."""
        try:
            return Path(f"/proc/{pid}/cwd").resolve() == self._folder / "work"
        except OSError:
            return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@pytest.mark.timeout(600)  # Some 45 s alone, but half a hundred programs start: on a busy machine much longer.
@pytest.mark.parametrize("pages", [("README.md",), MANUAL], ids=["readme", "manual"])
async def test_manual(pages: tuple[str, ...], tmp_path: Path) -> None:
    """Goal: every command of the manual works as it says. Method: type them all, in order, and compare what comes."""
    reader = Reader(tmp_path)
    try:
        await reader.open()
        for step in steps(pages):
            await reader.do(step)
    finally:
        await reader.close()
