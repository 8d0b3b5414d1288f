"""The events that services emit, by the numbers that the catalogue gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Emit = Callable[[int, dict[str, Any]], None]
"""Takes an event's id and fields. Never waits."""

FORBIDDEN = 20136
AUTHENTICATED = 20137
REJECTED = 20142
UNKNOWN_ACCOUNT = 20021
SESSION_OPENED = 30011
CONNECTED = 30014
DISCONNECTED = 30015
READ_FAILED = 30041
WRITE_FAILED = 30042
READ_OPENED = 30043
WRITE_OPENED = 30044
TOO_MANY_OPEN = 30051
READ_CLOSED = 30067
WRITE_CLOSED = 30068
