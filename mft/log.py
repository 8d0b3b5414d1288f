"""Log lines of the programs: for people on a terminal, or JSON for collectors. To standard error."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

Format = Literal["human", "json"]


def setup(format: str, level: str, **context: Any) -> None:
    """Set logging up for this process, once, at its start. `context` is in every line (node, process …)."""
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, sort_keys=False)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**context)
    handler = logging.StreamHandler(sys.stderr)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler.setFormatter(formatter)
    # Libraries (asyncssh, grpc, asyncio) say what matters at warning; below that they narrate.
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING), force=True)
