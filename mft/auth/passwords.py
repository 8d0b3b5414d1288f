"""Hashing and checking of passwords: argon2id for new ones; `$5$` and `$6$` crypt hashes of old ones are checked too.

A check costs tens of milliseconds and memory by design, so it runs on few threads of its own. An account without a
password, or an unknown one, costs the same check against a hash that nothing fits: the time does not tell which names
exist.
"""

from __future__ import annotations

import hmac
import re

import argon2

from mft.aio import Threads
from mft.auth.libcrypt import crypt
from mft.errors import Invalid, Unavailable

PASSWORD_BYTES_MAX = 1024
"""Longer ones are refused unseen: hashing takes time in proportion, and no one types that."""

THREADS_MAX = 2
"""Checks at one time: each needs 64 MiB and a core."""

NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""A hash with the cost of a new one that no known password has: what is checked where there is nothing to check."""

_ARGON2ID = re.compile(
    r"\$argon2id\$v=\d+\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{11,}"
)
_SHA_CRYPT = re.compile(r"\$[56]\$(rounds=(\d{1,9})\$)?[^$:\n]{0,16}\$[./A-Za-z0-9]{43,86}")

ARGON2_KIB_MAX = 1024 * 1024
SHA_ROUNDS_MAX = 1_000_000
"""What a hash in the config may cost a login; more would let one account's hash stop all logins."""


def is_hash(text: str) -> bool:
    """Say whether `text` is a hash that `verify` can check, so that it is stored as it is and not hashed again."""
    if found := _ARGON2ID.fullmatch(text):
        return int(found[1]) <= ARGON2_KIB_MAX
    if found := _SHA_CRYPT.fullmatch(text):
        return int(found[2] or 0) <= SHA_ROUNDS_MAX
    return False


def hash_password(password: str) -> str:
    """Return a new argon2id hash. Blocks for tens of milliseconds. Raises Invalid for one that is empty or too long."""
    if not password or len(password.encode()) > PASSWORD_BYTES_MAX:
        raise Invalid(f"a password has between 1 and {PASSWORD_BYTES_MAX} bytes")
    return argon2.PasswordHasher().hash(password)


def verify(hashed: str, password: str) -> bool:
    """Say whether the password fits the hash. Blocks. Raises Unavailable for a hash that nobody can check."""
    if hashed.startswith("$argon2id$"):
        try:
            return argon2.PasswordHasher().verify(hashed, password)
        except argon2.exceptions.VerifyMismatchError:
            return False
        except (argon2.exceptions.Argon2Error, argon2.exceptions.InvalidHashError) as error:
            raise Unavailable("the account's argon2id hash cannot be checked; set its password anew") from error
    if not _SHA_CRYPT.fullmatch(hashed) or "\0" in password:
        raise Unavailable("the account's password hash is of a kind that cannot be checked; set its password anew")
    computed = crypt(password, hashed)
    if computed is None:
        raise Unavailable("this host's crypt cannot check the account's password hash; set its password anew")
    return hmac.compare_digest(computed.encode(), hashed.encode())


class Passwords:
    """Checks passwords off the loop, a few at one time."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def check(self, hashed: str | None, password: str) -> bool:
        """Say whether the password fits; without a hash say no, after as long. Raises Unavailable."""
        if len(password.encode(errors="surrogateescape")) > PASSWORD_BYTES_MAX:
            return False
        fits = await self._threads.run(verify, hashed or NOBODY, password)
        return fits and hashed is not None
