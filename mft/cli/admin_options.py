"""Options that every command of `mft-admin` has, and the connection that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mft.cli.admin_output import Output
from mft.errors import Invalid

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mft.cli.admin_client import Client

SETTINGS: Mapping[str, Any] = {"help_option_names": ["-h", "--help"]}
ADDRESS = "127.0.0.1:7443"

Address = Annotated[
    str, typer.Option("--server", "-s", envvar="MFT_ADMIN", metavar="HOST:PORT", help="The controller.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="MFT_ADMIN_TOKEN_FILE", help="admin.token in the controller's data folder, or a copy of it."),
]
TlsCa = Annotated[
    Path | None, typer.Option("--tls-ca", envvar="MFT_ADMIN_TLS_CA", help="CA certificates (PEM); turns TLS on.")
]
OutputForm = Annotated[Output, typer.Option("--output", "-o", envvar="MFT_OUTPUT", help="For people, or for programs.")]


def connect_to(server: str, token_file: Path | None, tls_ca: Path | None) -> AbstractContextManager[Client]:
    """Open a connection to the controller, with the token that it wants to see.

    Raises:
        Invalid: the CA file cannot be read.
        Denied: the token's file cannot be read.
    """
    from mft.cli.admin_client import Server, connect, read_token

    try:
        ca = tls_ca.read_bytes() if tls_ca else None
    except OSError as error:
        raise Invalid(f"--tls-ca: {tls_ca} cannot be read: {error.strerror}") from error
    return connect(Server(server, read_token(token_file), ca))
