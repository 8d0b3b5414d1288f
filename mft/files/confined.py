"""One rooted folder: every operation on files below it, each by descriptors that the kernel confines.

Paths are bytes as the client sent them, so that every name survives; `/` and relative ones alike mean the root, `..`
stops there. Links are never followed, wherever they came from; they can be listed, renamed and removed like any entry.
A path is resolved by openat2 and the operation then made on its parent's descriptor and one last name, so no rename or
link that somebody plants meanwhile leads out. All calls block: run them on `mft.aio.Threads`. They raise OSError, and
Unavailable where the kernel cannot confine.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mft.errors import Unavailable
from mft.files.syscalls import NO_OPENAT2, openat2, rename_no_replace

FILE_MODE = 0o666
FOLDER_MODE = 0o777
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 4096


class Entry(NamedTuple):
    """One name in a folder, with its own status (a link's, not its target's)."""

    name: bytes
    status: os.stat_result


def normalized(path: bytes) -> bytes:
    """Return the absolute form of a client's path, `..` stopping at the root. Exact, because links are not followed."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts)


class ConfinedFolder:
    """The folder `root` as a little world of its own. Holds one descriptor; `close` gives it back."""

    def __init__(self, root: str, *, umask: int, create: bool = False, hidden: bytes = b"") -> None:
        """Open `root`, which may itself be reached through links: it is the administrator's word, not a client's.

        With `create` a missing one is made, parents too. What is named `hidden`, at any depth, is neither listed nor
        reached. Raises OSError, Unavailable.
        """
        self._umask = umask
        self._hidden = hidden
        if create:
            os.makedirs(root, mode=FOLDER_MODE & ~umask, exist_ok=True)  # noqa: PTH103 - bytes-safe like the rest
        self._root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._probe()
        except BaseException:
            os.close(self._root_fd)
            raise

    def _probe(self) -> None:
        """Find out now, not at the first file, whether this kernel (and its seccomp filter) lets us confine."""
        try:
            os.close(openat2(self._root_fd, b".", os.O_PATH | os.O_DIRECTORY))
        except PermissionError as error:
            raise Unavailable(NO_OPENAT2) from error

    def close(self) -> None:
        """Give the root's descriptor back. Files opened before stay open."""
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    # ---- resolving

    @contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the descriptor of the folder that holds `path`, and the last name. The root has no parent: EBUSY."""
        path = self._seen(path)
        folder, _, name = path.rpartition(b"/")
        if not name:
            raise OSError(errno.EBUSY, "the home folder itself cannot be changed", "/")
        fd = self._open_at(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def _open_at(self, path: bytes, flags: int, mode: int = 0) -> int:
        if b"\0" in path:
            raise OSError(errno.EINVAL, "a name must not contain a zero byte")
        return openat2(self._root_fd, self._seen(path)[1:] or b".", flags, mode)

    def _seen(self, path: bytes) -> bytes:
        """Normalize the path; refuse one that leads through what is hidden."""
        path = normalized(path)
        if self._hidden and self._hidden in path.split(b"/"):
            raise PermissionError(errno.EACCES, "this name is reserved", os.fsdecode(path))
        return path

    @contextmanager
    def _held(self, path: bytes) -> Iterator[Path]:
        """Yield a path of this process's own that goes on meaning the file or folder that is now at `path`.

        chmod and the like do not take an O_PATH descriptor; /proc/self/fd does, without going through any name.
        """
        fd = self._open_at(path, os.O_PATH)
        try:
            yield Path("/proc/self/fd", str(fd))
        finally:
            os.close(fd)

    # ---- files

    def open(self, path: bytes, flags: int, mode: int = FILE_MODE) -> int:
        """Open a regular file and return its descriptor, the caller's to close; anything else is refused with EACCES.

        A new file gets `mode` less the umask, whatever the umask of the process.
        """
        # O_NONBLOCK: opening a pipe must not hang. It means nothing for the regular files that get through.
        mode = mode & 0o777 & ~self._umask
        fd = self._open_at(path, flags | os.O_NONBLOCK | os.O_NOCTTY, mode if flags & os.O_CREAT else 0)
        try:
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(path))
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EACCES, "only regular files can be opened", os.fsdecode(path))
            if flags & os.O_EXCL and stat.S_IMODE(status.st_mode) != mode:
                os.fchmod(fd, mode)  # The process's umask took more away than ours.
        except BaseException:
            os.close(fd)
            raise
        return fd

    def unlink(self, path: bytes) -> None:
        """Remove a file or a link."""
        with self._parent(path) as (fd, name):
            os.unlink(name, dir_fd=fd)

    def truncate(self, path: bytes, size_bytes: int) -> None:
        """Cut or extend a file."""
        fd = self.open(path, os.O_WRONLY)
        try:
            os.ftruncate(fd, size_bytes)
        finally:
            os.close(fd)

    # ---- status

    def stat(self, path: bytes) -> os.stat_result:
        """Return the status of what `path` names; a link is refused with ELOOP."""
        with self._held(path) as held:
            return held.stat()

    def lstat(self, path: bytes) -> os.stat_result:
        """Return the status of the entry itself, which may be a link."""
        if normalized(path) == b"/":
            return self.stat(path)
        with self._parent(path) as (fd, name):
            return os.stat(name, dir_fd=fd, follow_symlinks=False)

    def chmod(self, path: bytes, mode: int) -> None:
        """Set permissions, less the umask; no set-user-id and the like."""
        with self._held(path) as held:
            held.chmod(self.permitted(mode))

    def utime(self, path: bytes, accessed_ns: int, modified_ns: int) -> None:
        """Set times, in nanoseconds since 1970."""
        with self._held(path) as held:
            os.utime(held, ns=(accessed_ns, modified_ns))

    def permitted(self, mode: int) -> int:
        """Reduce the permissions that a client asks for to those that the server's umask leaves."""
        return mode & 0o777 & ~self._umask

    def statvfs(self, path: bytes) -> os.statvfs_result:
        """Return size and free space of the file system that holds `path`."""
        with self._held(path) as held:
            return os.statvfs(held)

    # ---- folders

    def scan(self, path: bytes) -> FolderScan:
        """Open a folder for reading entry by entry; fails now if it cannot be read. The caller closes the scan."""
        return FolderScan(self._open_at(path, os.O_RDONLY | os.O_DIRECTORY), self._hidden)

    def mkdir(self, path: bytes, mode: int = FOLDER_MODE) -> None:
        """Make one folder with `mode` less the umask."""
        wanted = self.permitted(mode)
        with self._parent(path) as (fd, name):
            os.mkdir(name, wanted, dir_fd=fd)
            made = stat.S_IMODE(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
        if made & 0o777 != wanted:  # The process's umask took more away than ours.
            with self._held(path) as held:
                held.chmod(wanted | made & stat.S_ISGID)

    def rmdir(self, path: bytes) -> None:
        """Remove an empty folder."""
        with self._parent(path) as (fd, name):
            os.rmdir(name, dir_fd=fd)

    # ---- names

    def rename(self, old: bytes, new: bytes) -> None:
        """Rename; fails with EEXIST if `new` exists, without a moment in which another could slip in."""
        with self._parent(old) as (old_fd, old_name), self._parent(new) as (new_fd, new_name):
            try:
                rename_no_replace(old_fd, old_name, new_fd, new_name)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS):
                    raise
                _rename_by_link(old_fd, old_name, new_fd, new_name)

    def replace(self, old: bytes, new: bytes) -> None:
        """Rename, replacing what stands at `new` in one step."""
        with self._parent(old) as (old_fd, old_name), self._parent(new) as (new_fd, new_name):
            os.replace(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd)

    def sync_folder(self, path: bytes) -> None:
        """Make the names in the folder that holds `path` durable."""
        folder = normalized(path).rpartition(b"/")[0]
        fd = self._open_at(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # A file system on which folders cannot be synced does it by itself.
                raise
        finally:
            os.close(fd)


class FolderScan:
    """The entries of one open folder, read a batch at a time: a folder of millions needs no memory for all of them."""

    def __init__(self, fd: int, hidden: bytes = b"") -> None:
        self._fd = fd
        self._hidden = os.fsdecode(hidden)
        try:
            self._entries = os.scandir(fd)
        except BaseException:
            os.close(fd)
            raise

    def batch(self, entries_max: int) -> list[Entry]:
        """Return the next entries, none at the end. One that vanishes meanwhile is left out."""
        found: list[Entry] = []
        for entry in self._entries:
            if entry.name == self._hidden:
                continue
            try:
                status = os.stat(entry.name, dir_fd=self._fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            found.append(Entry(os.fsencode(entry.name), status))
            if len(found) >= entries_max:
                break
        return found

    def status(self) -> os.stat_result:
        """Return the status of the folder itself."""
        return os.fstat(self._fd)

    def close(self) -> None:
        """Close the folder."""
        if self._fd >= 0:
            self._entries.close()
            os.close(self._fd)
            self._fd = -1


def write_fully(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset` (at the end for a descriptor in append mode).

    A short write is not an error to the kernel; the next try then says why (no space, quota).
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        if written == 0:
            raise OSError(errno.EIO, "nothing could be written")
        view = view[written:]
        offset += written


def _rename_by_link(old_fd: int, old: bytes, new_fd: int, new: bytes) -> None:
    """Rename without replacing on file systems (NFS) that lack the one call: link() fails if the name exists."""
    status = os.stat(old, dir_fd=old_fd, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        os.link(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd, follow_symlinks=False)
        os.unlink(old, dir_fd=old_fd)
        return
    # Folders cannot be linked. A plain rename replaces at most an empty folder, so nothing is ever lost.
    try:
        os.stat(new, dir_fd=new_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
    else:
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(new))
