"""Connecting to a partner's SSH server: the way there, its identity, our login, and what each failure means."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh

from mft.errors import Denied, Invalid, Unavailable
from mft.model.algorithms import offer
from mft.model.locations import ProxySpec, SshLocationSpec
from mft.transfers.remotes.gathering import Gathering
from mft.transfers.remotes.host_keys import PartnerClient, split_host_keys
from mft.transfers.remotes.proxies import open_through
from mft.transfers.remotes.sftp_errors import reason
from mft.transfers.remotes.ssh_packets import hasten

_KEEPALIVE_S = 6
_KEEPALIVES_MISSED_MAX = 3
"""A partner that has said nothing for four of these times is gone. Quick enough for a leader that is cut off from it to
lose its group within a minute (`yield_after_s` counts from when the connection died), slow enough for a busy server."""
_OFTEN_REFUSED = "authentication failures"
"""In the words of a server that ends the connection after too many tries instead of refusing the last."""


async def connect(spec: SshLocationSpec) -> asyncssh.SSHClientConnection:
    """Connect, prove the partner's identity by its host key, and log in. The caller bounds the time.

    Raises:
        Denied: the host key is not one of the location's, or partner or proxy refuse the login.
        Invalid: the location cannot be right: an unreadable key, no algorithm in common, no such proxy.
        Unavailable: it cannot be reached.
    """
    where = f"{spec.username}@{spec.address}:{spec.port}"
    client, options = _options(spec)
    try:
        connection = await asyncssh.connect(spec.address, spec.port, **options)
    except asyncssh.HostKeyNotVerifiable as error:
        shown = f": {client.shown}" if client.shown else ""
        raise Denied(f"{where} shows a host key that is not among the location's host_keys{shown}") from error
    except asyncssh.PermissionDenied as error:
        raise Denied(f"{where} refuses the login: {reason(error)}") from error
    except asyncssh.KeyExchangeFailed as error:
        hint = "" if spec.algorithms == "legacy" else '; `algorithms = "legacy"` helps with very old servers'
        raise Invalid(f"{where} has no algorithm in common with this location: {reason(error)}{hint}") from error
    except asyncssh.DisconnectError as error:
        kind = Denied if _OFTEN_REFUSED in reason(error) else Unavailable
        raise kind(f"{where} ended the connection: {reason(error)}") from error
    except (asyncssh.Error, OSError) as error:
        raise Unavailable(f"cannot connect to {where}: {reason(error)}") from error
    gathering = options["tunnel"].gathering
    if gathering is not None and (packets := hasten(connection, gathering.give)) is not None:
        gathering.receive = packets.data_received
    return connection


class _Way:
    """How asyncssh gets its connection: it asks this, as it would ask another SSH connection to tunnel through."""

    def __init__(self, proxy: ProxySpec | None) -> None:
        self._proxy = proxy
        self.gathering: Gathering | None = None
        """What stands before the connection, once that is made."""

    async def create_connection(self, factory: Any, host: str, port: int) -> tuple[asyncio.BaseTransport, Any]:
        """Open the TCP connection, through the proxy if there is one."""
        loop = asyncio.get_running_loop()
        if self._proxy is None:
            transport, gathering = await loop.create_connection(lambda: Gathering(factory()), host, port)
        else:
            sock = await open_through(self._proxy, host, port)
            transport, gathering = await loop.create_connection(lambda: Gathering(factory()), sock=sock)
        self.gathering = gathering
        return transport, gathering.protocol


def _options(spec: SshLocationSpec) -> tuple[PartnerClient, dict[str, Any]]:
    trusted, fingerprints = split_host_keys(spec.host_keys)
    client = PartnerClient(fingerprints, spec.password)
    offered = offer(spec.algorithms)
    return client, {
        "tunnel": _Way(spec.proxy),
        "username": spec.username,
        "password": spec.password,
        "client_keys": _client_keys(spec) or None,
        # Only the location's own words count: no agent, no ~/.ssh, no host-based trust of the machine.
        "agent_path": None,
        "config": None,
        # Never an empty value here: asyncssh would take ~/.ssh/known_hosts instead.
        "known_hosts": (trusted, [], []),
        "client_factory": lambda: client,
        "keepalive_interval": _KEEPALIVE_S,
        "keepalive_count_max": _KEEPALIVES_MISSED_MAX,
        "x509_trusted_certs": None,
        "kex_algs": offered.kex,
        "encryption_algs": offered.ciphers,
        "mac_algs": offered.macs,
        "signature_algs": offered.signatures,
        "compression_algs": offered.compressions,
        "server_host_key_algs": _host_key_algorithms(trusted, fingerprints, offered.signatures),
    }


def _client_keys(spec: SshLocationSpec) -> list[asyncssh.SSHKey]:
    try:
        return [asyncssh.import_private_key(spec.private_key)] if spec.private_key else []
    except asyncssh.KeyImportError as error:
        # The library's words may quote the key.
        raise Invalid(f"the private key for {spec.username}@{spec.address} cannot be read") from error


def _host_key_algorithms(
    trusted: list[asyncssh.SSHKey], fingerprints: frozenset[str], signatures: tuple[str, ...]
) -> list[str]:
    """Ask for a host key of a kind that is pinned, if all are pinned whole: the server may have others as well."""
    if fingerprints:
        return list(signatures)
    pinned = {key.get_algorithm() for key in trusted}
    wanted = [name for name in signatures if name in pinned or (name.startswith("rsa-") and "ssh-rsa" in pinned)]
    return wanted or list(signatures)
