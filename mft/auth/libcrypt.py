"""crypt(3) of this host, for the `$5$` and `$6$` hashes of old accounts.

Called through ctypes: Python's own `crypt` is gone since 3.13, and what replaces it comes as source, so that a C
compiler would be needed wherever this program is installed.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

LIBRARY = "libcrypt.so.1"
CRYPT_DATA_BYTES = 256 * 1024
"""`struct crypt_data` is 32 KiB in libxcrypt and 128 KiB in older glibc; zeroed, as both demand."""


@functools.cache
def _crypt_r() -> Callable[[bytes, bytes, object], bytes | None] | None:
    try:
        function = ctypes.CDLL(LIBRARY, use_errno=True).crypt_r
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    function.restype = ctypes.c_char_p
    return function


def crypt(password: str, setting: str) -> str | None:
    """Hash `password` as `setting`, a hash or its beginning, says; None if this host cannot. Blocks, without the GIL.

    Neither may contain NUL. Source: crypt_r(3).
    """
    crypt_r = _crypt_r()
    if crypt_r is None:
        return None
    data = ctypes.create_string_buffer(CRYPT_DATA_BYTES)
    result = crypt_r(password.encode(errors="surrogateescape"), setting.encode(), data)
    # A failure is NULL, or in libxcrypt a string that no hash can begin with.
    return None if result is None or result.startswith(b"*") else result.decode()
