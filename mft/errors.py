"""Every error that crosses a border of this program, in one tree.

    MftError                 anything we can explain
    ├ Invalid                the caller's input is wrong; `problems` says where and what to do
    ├ NotFound               what was named does not exist
    ├ Conflict               somebody else was faster: read again, then decide again
    ├ Denied                 who you are does not permit it
    ├ Exhausted              a limit is reached; later or with less it may work
    └ Unavailable            something we depend on cannot be reached: an outage, never a refusal
      └ LeadershipLost       the right to run a group's transfers has ended; stop, do not retry

Adapters translate their library's errors once, `raise … from`, saying what was being done to what. `Denied` and
`Unavailable` are never confused: an outage must not look like a wrong password, nor grant anything. No message carries
a secret. Each class has a stable code; a more exact one may be given where the manual has a remedy of its own.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Problem(NamedTuple):
    """One thing wrong in a caller's input: where it is (`services.main.listener.port`), and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class MftError(Exception):
    """Base of all errors that carry a message for people and a stable code for programs and the manual."""

    code: ClassVar[str] = "MFT-INTERNAL-1000"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.stable_code = code or self.code
        self.location = ""
        """Location (of transfers) at which it happened, where that is known."""
        self.role = ""
        """What that location is to the transfer: `source`, `destination` or `archive`."""

    def __str__(self) -> str:
        return self.message


class Invalid(MftError):
    """The caller's input is wrong. `problems` lists everything found, not only the first."""

    code = "MFT-INPUT-1001"

    def __init__(self, message: str, problems: tuple[Problem, ...] = (), *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.problems = problems


class NotFound(MftError):
    """What was named does not exist."""

    code = "MFT-INPUT-1002"


class Conflict(MftError):
    """The state has moved on since the caller read it. Read again, then decide again."""

    code = "MFT-INPUT-1003"


class Denied(MftError):
    """Refused because of who the caller is."""

    code = "MFT-ACCESS-1001"


class Exhausted(MftError):
    """A bound is reached: sessions, handles, bytes, attempts."""

    code = "MFT-LIMIT-1001"


class Unavailable(MftError):
    """Something we depend on cannot be reached or did not answer in time. The outcome of a write is then unknown."""

    code = "MFT-OUTAGE-1001"


class LeadershipLost(Unavailable):
    """The term has ended. Whatever was about to be done must not be done by this process any more."""

    code = "MFT-OUTAGE-1002"
