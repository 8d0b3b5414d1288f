"""Options that several programs have, and how each ends: exit codes and one-line errors, never a traceback.

Exit codes: 0 done, 1 invalid input, 2 wrong use of the program, 3 conflict, 4 denied, 5 something is unavailable.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mft.agent.options import EtcdOptions
from mft.errors import Conflict, Denied, Invalid, MftError, Unavailable

EXIT_INVALID, EXIT_USAGE, EXIT_CONFLICT, EXIT_DENIED, EXIT_UNAVAILABLE = 1, 2, 3, 4, 5

LEASE_TTL_S_LEAST = 2
PORT_MAX = 65535


class LogFormat(StrEnum):
    """How log lines look."""

    HUMAN = "human"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Name = Annotated[str, typer.Option(envvar="MFT_NAME", help="This instance's name in the cluster. [default: host name]")]
Etcd = Annotated[
    str, typer.Option(envvar="MFT_ETCD_ENDPOINTS", metavar="HOST:PORT,…", help="Members of etcd that may be asked.")
]
EtcdCa = Annotated[Path | None, typer.Option(envvar="MFT_ETCD_CA", help="CA certificates (PEM) of etcd; turns TLS on.")]
EtcdCert = Annotated[Path | None, typer.Option(envvar="MFT_ETCD_CERT", help="Client certificate (PEM) for etcd.")]
EtcdKey = Annotated[Path | None, typer.Option(envvar="MFT_ETCD_KEY", help="Key (PEM) of the client certificate.")]
Cluster = Annotated[str, typer.Option(envvar="MFT_CLUSTER", help="Name of the cluster; several may share one etcd.")]
Data = Annotated[
    Path | None,
    typer.Option(envvar="MFT_DATA", help="Folder of this instance alone. [default: below /var/lib/mft as root]"),
]
LeaseTtl = Annotated[
    int,
    typer.Option(
        envvar="MFT_LEASE_TTL",
        min=LEASE_TTL_S_LEAST,
        max=600,
        help="Seconds after which a silent instance counts as gone. 5 for a fast failover on a LAN.",
    ),
]
InboundWorkers = Annotated[
    int, typer.Option(envvar="MFT_INBOUND_WORKERS", min=0, max=256, help="Processes that serve sessions. 0: cores − 1.")
]
OutboundWorkers = Annotated[
    int, typer.Option(envvar="MFT_OUTBOUND_WORKERS", min=0, max=256, help="Processes that send files. 0: cores − 1.")
]
HealthAddress = Annotated[
    str,
    typer.Option("--health", envvar="MFT_HEALTH", metavar="HOST:PORT", help="Serve /livez, /readyz and /metrics here."),
]
StopSeconds = Annotated[
    float, typer.Option("--stop", envvar="MFT_STOP", help="Seconds that sessions and runs may finish after SIGTERM.")
]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", envvar="MFT_LOG_FORMAT", help="How log lines look.")
]
LogLevelOption = Annotated[LogLevel, typer.Option("--log-level", envvar="MFT_LOG_LEVEL", help="The least severity.")]


def default_workers() -> int:
    """One for each core but one, which is the agent's; at least one."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def default_name() -> str:
    """Give this host's name."""
    return socket.gethostname()


def data_folder(given: Path | None, *parts: str) -> Path:
    """Return the instance's data folder, made if it is missing, for nobody else to read.

    Raises:
        Invalid: it cannot be made or written.
    """
    folder = (given or _state_folder().joinpath("mft", *parts)).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid(f"the data folder {folder} cannot be made: {error.strerror}; choose one with --data") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Invalid(f"the data folder {folder} cannot be written; choose one with --data")
    return folder


def _state_folder() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def endpoints(text: str) -> tuple[str, ...]:
    """Split `HOST:PORT,HOST:PORT`.

    Raises:
        Invalid: one of them is not of that form, or there is none.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for endpoint in found:
        host, _, port = endpoint.rpartition(":")
        if not host or not port.isdigit() or "/" in endpoint:
            raise Invalid(f"--etcd: {endpoint!r} is not HOST:PORT (no scheme; --etcd-ca turns TLS on)")
    if not found:
        raise Invalid("--etcd: at least one HOST:PORT is needed")
    return found


def etcd_options(etcd: str, ca: Path | None, cert: Path | None, key: Path | None) -> EtcdOptions:
    """Put the options about etcd together, with absolute paths.

    Raises:
        Invalid: an endpoint is not HOST:PORT, or a certificate is given without its key.
    """
    if (cert is None) != (key is None):
        raise Invalid("--etcd-cert and --etcd-key go together: give both or neither")
    paths = [str(path.absolute()) if path else None for path in (ca, cert, key)]
    return EtcdOptions(endpoints=endpoints(etcd), ca=paths[0], cert=paths[1], key=paths[2])


def address(text: str, option: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 address stands in brackets.

    Raises:
        Invalid: it is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > PORT_MAX:
        raise Invalid(f"{option}: {text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def exit_code(error: MftError) -> int:
    """Give the exit code that goes with an error."""
    for kind, code in (
        (Invalid, EXIT_INVALID),
        (Conflict, EXIT_CONFLICT),
        (Denied, EXIT_DENIED),
        (Unavailable, EXIT_UNAVAILABLE),
    ):
        if isinstance(error, kind):
            return code
    return EXIT_INVALID


def fail(error: MftError) -> NoReturn:
    """Say what is wrong, one problem a line, and end the program."""
    print(f"error: {error}", file=sys.stderr)
    for problem in getattr(error, "problems", ()):
        print(f"  {problem}", file=sys.stderr)
    raise SystemExit(exit_code(error))


def guarded(main: Callable[[], None]) -> None:
    """Run a program's main so that its errors are lines, not tracebacks."""
    try:
        main()
    except MftError as error:
        fail(error)
