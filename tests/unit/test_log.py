"""Log lines come out as asked for: from us and from libraries, for people and for collectors, on standard error."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging, sys, warnings
import structlog
from mft import log
warnings.simplefilter("error")
log.setup(sys.argv[1], sys.argv[2], node="n1", process="agent")
ours, library = structlog.get_logger(), logging.getLogger("asyncssh")
ours.debug("debugged")
ours.info("started", port=22)
library.info("narrated")
library.warning("peer %s is odd", "p1")
try:
    raise ValueError("broken")
except ValueError:
    ours.exception("failed")
"""


def run(format: str, level: str) -> list[str]:
    """Run a program that logs, and return its lines. Logging is set up once for a process, so it needs one."""
    command = [sys.executable, "-c", PROGRAM, format, level]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_is_one_object_a_line_with_its_context() -> None:
    """Goal: a collector needs no second parser. Method: our lines, a library's and a traceback."""
    lines = [json.loads(line) for line in run("json", "info")]
    assert [line["event"] for line in lines] == ["started", "peer p1 is odd", "failed"]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert all(line["node"] == "n1" and line["process"] == "agent" and line["timestamp"] for line in lines)
    assert lines[0]["port"] == 22
    assert lines[1]["logger"] == "asyncssh"
    assert "ValueError: broken" in lines[2]["exception"]


def test_human_lines_and_levels() -> None:
    """Goal: people read it, without colours where there is no terminal. Method: two levels."""
    text = "\n".join(run("human", "debug"))
    assert "debugged" in text
    assert "narrated" not in text
    assert "started" in text
    assert "port=22" in text
    assert "\x1b" not in text
    quiet = "\n".join(run("human", "error"))
    assert "failed" in quiet
    assert "started" not in quiet
    assert "peer" not in quiet
