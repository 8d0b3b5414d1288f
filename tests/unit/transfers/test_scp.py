"""Which listings of a server without SFTP count as whole."""

from __future__ import annotations

import pytest

from mft.transfers.remotes.scp import is_whole
from mft.transfers.remotes.scp_commands import Answer

GONE = "stat: cannot statx '/in/./a': No such file or directory"
GONE_TOO = "find: /in/./b: No such file or directory"
DENIED = "stat: can't stat '/in/./c': Permission denied"


@pytest.mark.parametrize(
    ("status", "error", "whole"),
    [
        (0, "", True),
        (0, "bash: warning: setlocale: LC_ALL: cannot change locale", True),
        (0, GONE, True),
        (1, f"{GONE}\n{GONE_TOO}", True),
        (0, DENIED, False),
        (1, f"{GONE}\n{DENIED}", False),
        (1, f"{GONE}\nstat: it was ended", False),
        (1, f"{GONE[:-1]}", False),
        (1, "", False),
        (67, GONE, False),
        (127, "sh: find: not found", False),
        (137, GONE, False),
        (None, "", False),
        (None, "ended by signal TERM", False),
    ],
    ids=range(14),
)
def test_a_listing_that_lacks_something_is_none(status: int | None, error: str, whole: bool) -> None:
    """Goal: what could not be seen is never taken for gone. Method: endings of the commands, alone and mixed."""
    assert is_whole(Answer(status, b"", error)) is whole
