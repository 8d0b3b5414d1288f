"""Commands that run at a partner, each on an SSH channel of its own (RFC 4254 section 6.5), and what each came to.

A script is a constant text; what differs are its arguments, each quoted by itself, so that no name can be taken for a
command. The scripts hold neither a line break nor an exclamation mark: a login shell of the C shell's family would
understand those within quotes too.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, cast

import asyncssh
from asyncssh.constants import OPEN_REQUEST_SESSION_FAILED

from mft.aio import boottime
from mft.errors import Unavailable
from mft.model.locations import SshLocationSpec
from mft.transfers.remotes.base import Content
from mft.transfers.remotes.sftp_connect import connect

_COMMANDS_MAX = 8
"""Commands at one time on one connection: OpenSSH allows ten, and one given up counts until its process has ended."""
_ANSWER_BYTES_MAX = 1024 * 1024
"""What a command may say beyond the content of a file or a folder: a line for each entry that vanished meanwhile."""
_BLOCK_BYTES = 64 * 1024
_REFUSED_S, _REFUSED_S_MAX = 0.05, 5.0
"""How long to wait after a refused channel, and how long such refusals are believed to pass."""
_CANCELLED_S_MAX = 1.0
"""How long a cancelled opening is waited for."""

_Streams = tuple["asyncssh.SSHWriter[bytes]", "asyncssh.SSHReader[bytes]", "asyncssh.SSHReader[bytes]"]
"""Standard input, output and error of a command."""


class Answer(NamedTuple):
    """How a command ended."""

    status: int | None
    """Its exit status; None if it was ended by a signal, or the server told nothing."""
    out: bytes
    error: str
    """What it wrote to standard error, or the signal that ended it."""


class Command:
    """One command under way. Each wait for the partner is bounded by `limit_s`."""

    def __init__(
        self,
        stdin: asyncssh.SSHWriter[bytes],
        stdout: asyncssh.SSHReader[bytes],
        stderr: asyncssh.SSHReader[bytes],
        limit_s: float,
    ) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self._limit_s = limit_s

    async def read(self, size_bytes: int) -> bytes:
        """Give what it wrote to standard output, at most so many bytes; empty at the end."""
        async with asyncio.timeout(self._limit_s):
            return await self._stdout.read(size_bytes)

    async def write(self, data: Content) -> None:
        """Give it this to read on standard input."""
        for start in range(0, len(data), _BLOCK_BYTES):
            self._stdin.write(bytes(data[start : start + _BLOCK_BYTES]))
            async with asyncio.timeout(self._limit_s):
                await self._stdin.drain()

    def end_of_input(self) -> None:
        """Say that no more input comes."""
        with contextlib.suppress(OSError):  # It may have ended already: then its answer says why.
            self._stdin.write_eof()

    async def answer(self) -> Answer:
        """Wait for its end."""
        channel = cast("asyncssh.SSHClientChannel[bytes]", self._stdin.channel)
        async with asyncio.timeout(self._limit_s):
            out = await _read_most(self._stdout)
            error = await _read_most(self._stderr)
            await channel.wait_closed()
        text = error.decode("utf-8", "surrogateescape").strip()
        if signal := channel.get_exit_signal():
            return Answer(None, out, f"ended by signal {signal[0]}")
        return Answer(channel.get_exit_status(), out, text)

    def close(self) -> None:
        """Let go of it, whatever it is doing."""
        self._stdin.channel.close()


class _Line:
    """One connection and how many commands run on it."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self.connection = connection
        self.commands = 0
        self.commands_max = _COMMANDS_MAX


class Commands:
    """Starts commands; where one connection carries no more of them, another is opened, and kept."""

    def __init__(self, spec: SshLocationSpec, first: asyncssh.SSHClientConnection) -> None:
        self._spec = spec
        self._lines = [_Line(first)]
        self._growing = asyncio.Lock()

    async def run(self, script: str, *arguments: str, limit_s: float | None = None) -> Answer:
        """Run a command that reads nothing and says little, to its end."""
        async with self.start(script, *arguments, limit_s=limit_s) as command:
            command.end_of_input()
            return await command.answer()

    @asynccontextmanager
    async def start(self, script: str, *arguments: str, limit_s: float | None = None) -> AsyncIterator[Command]:
        """Start a command; leaving the block ends it.

        Raises:
            asyncssh.Error, OSError, TimeoutError: it could not be started.
        """
        line, streams = await self._place(_command_line(script, arguments))
        command = Command(*streams, self._spec.call_timeout_s if limit_s is None else limit_s)
        try:
            yield command
        finally:
            command.close()
            line.commands -= 1

    def abort(self) -> None:
        """Close all connections at once."""
        for line in self._lines:
            line.connection.abort()

    async def wait_closed(self) -> None:
        """Wait until all connections are closed."""
        for line in self._lines:
            await line.connection.wait_closed()

    async def _place(self, command: bytes) -> tuple[_Line, _Streams]:
        """Start the command on the connection with the least to do that takes it."""
        until = boottime() + _REFUSED_S_MAX
        while True:
            line = await self._line()
            line.commands += 1
            try:
                return line, await self._opened(line.connection, command)
            except asyncssh.ChannelOpenError as error:
                line.commands -= 1
                if error.code == OPEN_REQUEST_SESSION_FAILED or line.connection.is_closed():
                    raise
                if boottime() > until:
                    raise
                if line.commands:  # So many it allows, and no more.
                    line.commands_max = min(line.commands_max, line.commands)
                else:  # It still counts one that has just ended.
                    await asyncio.sleep(_REFUSED_S)
            except BaseException:
                line.commands -= 1
                raise

    async def _line(self) -> _Line:
        """Give a connection that has room for one command more."""
        if (line := self._with_room()) is not None:
            return line
        async with self._growing:
            if (line := self._with_room()) is not None:
                return line
            async with asyncio.timeout(self._spec.connect_timeout_s):
                line = _Line(await connect(self._spec))
            self._lines.append(line)
            if self._lines[0].connection.is_closed():
                self.abort()  # Given up while this one was being opened.
            return line

    def _with_room(self) -> _Line | None:
        if any(line.connection.is_closed() for line in self._lines):
            raise Unavailable(f"the connection to {self._spec.address}:{self._spec.port} is closed")
        line = min(self._lines, key=lambda line: line.commands - line.commands_max)
        return line if line.commands < line.commands_max else None

    async def _opened(self, connection: asyncssh.SSHClientConnection, command: bytes) -> _Streams:
        """Open a channel. If that is cancelled, it is closed as soon as it is open: the server counts it till then."""
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(self._open(connection, command), name="start-command")
            try:
                opened = await asyncio.shield(opening)
            except asyncio.CancelledError:
                await asyncio.wait([opening], timeout=_CANCELLED_S_MAX)
                if opening.done() and isinstance(opened := opening.result(), tuple):
                    opened[0].channel.close()
                raise
        if isinstance(opened, Exception):
            raise opened
        return opened

    async def _open(self, connection: asyncssh.SSHClientConnection, command: bytes) -> _Streams | Exception:
        try:
            async with asyncio.timeout(self._spec.call_timeout_s):
                # The library's word for a command is a text, but it sends bytes just as well.
                return await connection.open_session(command=command, encoding=None)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            return error


def _command_line(script: str, arguments: tuple[str, ...]) -> bytes:
    """Write the command for whatever login shell the account has. Messages are to be in English: they are read."""
    words = ("env", "LC_ALL=C", "sh", "-c", script, "sh", *arguments)
    return " ".join(shlex.quote(word) for word in words).encode("utf-8", "surrogateescape")


async def _read_most(stream: asyncssh.SSHReader[bytes]) -> bytes:
    """Read to the end and keep the beginning."""
    kept = b""
    while piece := await stream.read(_ANSWER_BYTES_MAX):
        kept += piece[: _ANSWER_BYTES_MAX - len(kept)]
    return kept
