"""What is done with events. A new kind is one spec, one file here, one line in `KINDS`.

base.py         what each handler can do
local_file.py   appends each event as one line to a file
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mft.events.handlers.base import Handler
from mft.events.handlers.local_file import LocalFile
from mft.model.event_handlers import LocalFileHandlerSpec

KINDS: Mapping[type, Callable[[Any], Handler]] = {LocalFileHandlerSpec: LocalFile}
"""Spec → handler."""

__all__ = ["KINDS", "Handler"]
