"""A partner's SSH server without SFTP, as a remote: content through commands, all else by the tools of a POSIX shell.

What `scp` itself sends needs to know a file's size before its first byte, replaces what is there, and can neither go on
nor sync; so content goes through `cat`, which every server has on which `scp` works. The tools must be those of GNU or
busybox: their `stat` tells size, time and kind in numbers, and their `mv -T` never moves into a folder.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager

import asyncssh

from mft.errors import Denied, Exhausted, Invalid, MftError, NotFound, Unavailable
from mft.model.locations import ScpLocationSpec
from mft.transfers.remotes.base import PIECE_BYTES, Content, Entry, shown
from mft.transfers.remotes.scp_commands import Answer, Command, Commands
from mft.transfers.remotes.sftp_connect import connect
from mft.transfers.remotes.sftp_errors import reason, translated

_NOWHERE = "/.mft-no-such-file"
_RECORD_BYTES_MAX = 8192
_CONTENTS_MAX = 8
"""Files read, and files written, at one time; what waits for a write already reads, so the two are counted apart."""
_HASH_BYTES_S_MIN = 5_000_000
"""So much a server hashes at least in a second, or it does not answer."""
_TOO_SHORT, _ELSEWHERE, _NO_FOLDER = 65, 66, 67
"""Exit statuses of the scripts below, beyond those of the tools."""

# A name holds no slash, so a slash after it ends it, whatever else is in it.
_PROBE = (
    'find / -prune -exec stat -c "%f %s %Y %n/" {} + ; '
    'for flags in "-f" "-f --no-copy"; do mv $flags -T -- "$1" "$1" 2>&1 | head -n 1; done'
)
# The folder must be there before and after: else nothing found would not mean that it is empty.
_SCAN = (
    f'stat -L -c %d -- "$1" >/dev/null || exit {_NO_FOLDER}; find "$1" -name . -o -exec sh -c '
    '"stat -c \\"%f %s %Y %n/\\" \\"\\$@\\" || test \\$? -eq 1 || echo stat: it was ended >&2" sh {} + -prune; '
    f's=$?; stat -L -c %d -- "$1" >/dev/null || exit {_NO_FOLDER}; exit $s'
)
_LSTAT = 'exec stat -c "%f %s %Y" -- "$1"'
_RENAME = 'exec mv $3 -T -- "$1" "$2"'
_RENAME_ACROSS = (
    'a=$(stat -L -c %d -- "$4") && b=$(stat -L -c %d -- "$5") || exit; '
    f'test "$a" = "$b" || exit {_ELSEWHERE}; {_RENAME}'
)
_REMOVE = 'exec rm -- "$1" </dev/null'
_MAKE_FOLDER = 'mkdir -- "$1" || test -d "$1"'
_REMOVE_FOLDER = 'exec rmdir -- "$1"'
_READ = 'exec cat "$1"'
_READ_FROM = 'exec tail -c "+$2" "$1"'
_WRITE = '(set -C; cat > "$1") || exit; sync "$1" 2>/dev/null; exit 0'
_WRITE_FROM = (
    f's=$(stat -c %s -- "$1") || exit; test "$s" -ge "$2" || exit {_TOO_SHORT}; '
    'dd if=/dev/null of="$1" bs=1 "seek=$2" 2>/dev/null && cat >> "$1" || exit; sync "$1" 2>/dev/null; exit 0'
)
_SHA256 = 'exec sha256sum -- "$1"'

_RECORD = rb"([0-9a-f]+) (\d+) (-?\d+) %s/([^/]+)/\n"
_LOOK = re.compile(rb"([0-9a-f]+) (\d+) (-?\d+)\n")
_ROOT = re.compile(rb"[0-9a-f]+ \d+ -?\d+ //\n")
_HASH = re.compile(rb"\\?([0-9a-f]{64}) ")

_ENDINGS: tuple[tuple[tuple[str, ...], type[MftError]], ...] = (
    # The second and third are what shells say of a redirection.
    (("no such file or directory", "directory nonexistent", "nonexistent directory"), NotFound),
    (("permission denied", "operation not permitted", "read-only file system"), Denied),
    (("no space left on device", "quota exceeded"), Exhausted),
)
"""What the end of a message says: the system's own words, which follow whatever name stands before them."""
_STATUSES: Mapping[int, str] = {
    _TOO_SHORT: "it is shorter than what is to be gone on from",
    _ELSEWHERE: "the new name is on another file system, where a rename is not one step",
}
_TEXT_MAX = 300
"""Characters of a server's message that are passed on."""


class ScpRemote:
    """One login at the partner, with a connection for each few commands that run at one time."""

    source_atomic = True
    """`mv` within one file system is a single rename(2); across two this refuses."""

    def __init__(self, spec: ScpLocationSpec, commands: Commands, move: str) -> None:
        self._spec = spec
        self._commands = commands
        self._move = move
        self._reads = asyncio.Semaphore(_CONTENTS_MAX)
        self._writes = asyncio.Semaphore(_CONTENTS_MAX)

    @classmethod
    async def open(cls, spec: ScpLocationSpec) -> ScpRemote:
        """Connect, prove the partner's identity by its host key, log in and try the tools.

        Raises:
            Denied: the host key is not one of the location's, or the partner or a proxy refuses the login.
            Invalid: the location cannot be right: an unreadable key, no algorithm in common, no such tools there.
            Unavailable: it cannot be reached, or did not answer within `connect_timeout_s`.
        """
        where = f"{spec.username}@{spec.address}:{spec.port}"
        try:
            async with asyncio.timeout(spec.connect_timeout_s):
                connection = await connect(spec)
                try:
                    commands = Commands(spec, connection)
                    return cls(spec, commands, _judged(await commands.run(_PROBE, _NOWHERE), where))
                except asyncssh.ChannelOpenError as error:
                    connection.abort()
                    raise Invalid(f"{where} takes the login, but runs no commands: {reason(error)}") from error
                except BaseException:
                    connection.abort()
                    raise
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise Unavailable(f"cannot connect to {where}: {reason(error)}") from error

    async def scan(self, folder: str) -> AsyncIterator[Entry]:
        """Yield the folder's entries as the server finds them."""
        start = _argument(folder) + "/."
        record = re.compile(_RECORD % re.escape(os.fsencode(start)))
        with self._translated("list", folder):
            async with self._commands.start(_SCAN, start) as command:
                command.end_of_input()
                held = b""
                while len(held) < _RECORD_BYTES_MAX and (piece := await command.read(PIECE_BYTES)):
                    held += piece
                    end = 0
                    while found := record.match(held, end):
                        end = found.end()
                        yield _entry(*found.groups())
                    held = held[end:]
                answer = await command.answer()
        if not is_whole(answer):
            raise self._failure(answer, "list", folder)
        if held:
            raise MftError(f"cannot list {shown(folder)} at {self._where}: it answers {held[:80]!a}")

    async def lstat(self, path: str) -> Entry:
        """Say what stands under this name."""
        answer = await self._run("look at", path, _LSTAT, _argument(path))
        found = _LOOK.fullmatch(answer.out)
        if found is None:
            raise MftError(f"cannot look at {shown(path)} at {self._where}: it answers {answer.out[:80]!a}")
        return _entry(found[1], found[2], found[3], os.fsencode(path.rpartition("/")[2]))

    async def rename(self, old: str, new: str) -> None:
        """Rename, replacing what stood there."""
        folders = [_argument(path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")) for path in (old, new)]
        script = _RENAME if folders[0] == folders[1] else _RENAME_ACROSS
        await self._run("rename", old, script, _argument(old), _argument(new), self._move, *folders)

    async def remove(self, path: str) -> None:
        """Remove one file."""
        await self._run("remove", path, _REMOVE, _argument(path))

    async def make_folder(self, path: str) -> None:
        """Make one folder unless it is there."""
        await self._run("make folder", path, _MAKE_FOLDER, _argument(path))

    async def remove_folder(self, path: str) -> None:
        """Remove one folder if it is empty."""
        with self._translated("remove folder", path):
            answer = await self._commands.run(_REMOVE_FOLDER, _argument(path))
        if answer.status != 0 and not answer.error.lower().endswith(("directory not empty", "file exists")):
            raise self._failure(answer, "remove folder", path)

    async def sha256(self, path: str) -> str | None:
        """Have the server hash the file; None where it has no tool for that."""
        seconds = (await self.lstat(path)).size_bytes / _HASH_BYTES_S_MIN
        with self._translated("hash", path):
            limit_s = self._spec.call_timeout_s + seconds
            answer = await self._commands.run(_SHA256, _argument(path), limit_s=limit_s)
        if answer.status == 127:
            return None
        found = _HASH.match(answer.out)
        if answer.status != 0 or found is None:
            raise self._failure(answer, "hash", path)
        return found[1].decode()

    @asynccontextmanager
    async def read(self, path: str, offset: int = 0) -> AsyncIterator[AsyncIterator[Content]]:
        """Give the file's content, piece by piece."""
        script = _READ_FROM if offset else _READ
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._reads)
            with self._translated("open", path):
                starting = self._commands.start(script, _argument(path), str(offset + 1))
                command = await stack.enter_async_context(starting)
            command.end_of_input()
            yield self._pieces(command, path)

    async def write(self, path: str, content: AsyncIterator[Content], offset: int = 0) -> int:
        """Make a file of this content; synced where the server's `sync` takes a name."""
        script = _WRITE_FROM if offset else _WRITE
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._writes)
            with self._translated("create", path):
                starting = self._commands.start(script, _argument(path), str(offset))
                command = await stack.enter_async_context(starting)
            size_bytes = await _send(command, content)
            with self._translated("write", path):
                answer = await command.answer()
        if answer.status != 0:
            raise self._failure(answer, "write", path)
        return size_bytes

    async def close(self) -> None:
        """Close the connections at once: whatever was under way fails."""
        self.abort()
        try:
            async with asyncio.timeout(1.0):
                await self._commands.wait_closed()
        except TimeoutError:
            pass

    def abort(self) -> None:
        """Close the connections without waiting for their end."""
        self._commands.abort()

    async def _pieces(self, command: Command, path: str) -> AsyncIterator[Content]:
        with self._translated("read", path):
            while piece := await command.read(PIECE_BYTES):
                yield piece
            answer = await command.answer()
        if answer.status != 0:
            raise self._failure(answer, "read", path)

    async def _run(self, doing: str, path: str, script: str, *arguments: str) -> Answer:
        with self._translated(doing, path):
            answer = await self._commands.run(script, *arguments)
        if answer.status != 0:
            raise self._failure(answer, doing, path)
        return answer

    def _failure(self, answer: Answer, doing: str, path: str) -> MftError:
        text = _STATUSES.get(answer.status or 0, answer.error) or f"status {answer.status}"
        kind = Unavailable if answer.status is None else _kind(text)
        return kind(f"cannot {doing} {shown(path)} at {self._where}: {shown(text[-_TEXT_MAX:])}")

    def _translated(self, doing: str, path: str) -> AbstractContextManager[None]:
        return translated(doing, path, self._where)

    @property
    def _where(self) -> str:
        return f"{self._spec.address}:{self._spec.port}"


async def _send(command: Command, content: AsyncIterator[Content]) -> int:
    """Send all of it, unless the command ends before: its answer says why. Return the size."""
    size_bytes = 0
    async for piece in content:
        try:
            await command.write(piece)
        except (asyncssh.Error, OSError):
            break
        size_bytes += len(piece)
    command.end_of_input()
    return size_bytes


def _judged(answer: Answer, where: str) -> str:
    """Say how to call `mv`, if the tools are there.

    Raises:
        Invalid: they are not, or the account runs something else.
    """
    root = _ROOT.match(answer.out)
    lines = answer.out[root.end() :].decode("utf-8", "replace").splitlines() if root else []
    if len(lines) != 2 or _kind(lines[0]) is not NotFound:
        first = (answer.out.decode("utf-8", "replace").strip() or answer.error or "nothing")[:_TEXT_MAX]
        raise Invalid(
            f"{where} takes the login, but does not run what `scp` locations need (a POSIX shell that prints nothing "
            f"of its own, find, stat and mv of GNU or busybox): it answers {shown(first)}"
        )
    # Without --no-copy, which came late, `mv` would copy between two mounts of one file system.
    return "-f --no-copy" if _kind(lines[1]) is NotFound else "-f"


def is_whole(answer: Answer) -> bool:
    """Say whether a listing has all there is: what vanished meanwhile may lack, what could not be looked at may not."""
    lines = [line for line in answer.error.splitlines() if line.startswith(("find:", "stat:"))]
    is_ended = answer.status == 0 or (answer.status == 1 and bool(lines))
    return is_ended and all(_kind(line) is NotFound for line in lines)


def _kind(text: str) -> type[MftError]:
    text = text.lower()
    return next((kind for endings, kind in _ENDINGS if text.endswith(endings)), MftError)


def _argument(path: str) -> str:
    """Write a path so that no tool takes it for an option or for standard input."""
    return path if path.startswith("/") else f"./{path}"


def _entry(mode: bytes, size_bytes: bytes, mtime: bytes, name: bytes) -> Entry:
    kind = int(mode, 16)
    return Entry(os.fsdecode(name), int(size_bytes), float(mtime), stat.S_ISREG(kind), stat.S_ISDIR(kind))
