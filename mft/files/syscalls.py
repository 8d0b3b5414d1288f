"""openat2 and renameat2: the two system calls of confinement that Python's `os` lacks.

Source: openat2(2), renameat2(2), linux/openat2.h. The number of openat2 is the same on every architecture; renameat2
is taken from the C library.
"""

from __future__ import annotations

import ctypes
import errno
import os

from mft.errors import Unavailable

SYS_OPENAT2 = 437

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

CONFINED = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
"""Nothing above the root, no link of any kind: the kernel refuses, so no race can help."""

RENAME_NOREPLACE = 1

TRIES_MAX = 16
"""The kernel answers EAGAIN when a rename elsewhere disturbed its check of the path, and asks to try again."""

NO_OPENAT2 = (
    "this kernel does not offer openat2, without which files cannot be confined to a folder; "
    "run on Linux 5.6 or newer, in a container with a seccomp profile that permits openat2"
)


class _OpenHow(ctypes.Structure):
    """`struct open_how`."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_LIBC = ctypes.CDLL(None, use_errno=True)  # The C library that this process runs on; nothing here changes it.


def openat2(dir_fd: int, path: bytes, flags: int, mode: int = 0, resolve: int = CONFINED) -> int:
    """Open `path` relative to `dir_fd` under the kernel's own confinement; return a descriptor closed on exec.

    Raises OSError as open(2) does, with EXDEV or ELOOP when the path would leave `dir_fd` or goes through a link;
    Unavailable where the kernel has no openat2, because there is no other safe way.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    code = errno.EAGAIN
    for _ in range(TRIES_MAX):
        fd = int(_LIBC.syscall(SYS_OPENAT2, dir_fd, path, ctypes.byref(how), ctypes.sizeof(how)))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code == errno.ENOSYS:
            raise Unavailable(NO_OPENAT2)
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code), os.fsdecode(path))


def rename_no_replace(old_dir_fd: int, old: bytes, new_dir_fd: int, new: bytes) -> None:
    """Rename, failing with EEXIST if `new` exists, in one step. EINVAL where the file system (NFS) cannot do that."""
    if _LIBC.renameat2(old_dir_fd, old, new_dir_fd, new, RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(new))
