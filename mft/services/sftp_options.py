"""Host keys, algorithms and limits of the SFTP service's SSH."""

from __future__ import annotations

from collections.abc import Sequence

import asyncssh

from mft.errors import Invalid
from mft.model.algorithms import SIGNATURES, Profile, offer
from mft.model.services import ListenerSpec

KEEPALIVE_S = 60
KEEPALIVES_MAX = 3
"""A peer that does not answer three requests, a minute apart, is gone. Below the idle timers of load balancers."""


def host_keys(keys: Sequence[asyncssh.SSHKey], algorithms: Profile) -> list[asyncssh.SSHKeyPair]:
    """Make the host keys of one connection: asyncssh keeps in them which algorithm the client has chosen."""
    pairs = list(asyncssh.load_keypairs(list(keys)))
    if algorithms == "modern":
        for pair in pairs:
            pair.host_key_algorithms = [name for name in pair.host_key_algorithms if name.decode() in SIGNATURES]
    return pairs


def load_host_keys(listener: ListenerSpec) -> tuple[asyncssh.SSHKey, ...]:
    """Read the host keys of a listener. Raises Invalid for those that cannot be used, and for none at all."""
    keys = []
    for number, pem in enumerate(listener.host_keys, 1):
        try:
            keys.append(asyncssh.import_private_key(pem))
        except (asyncssh.KeyImportError, ValueError) as error:
            # The library's words may quote the key.
            raise Invalid(f"host key {number} is not an OpenSSH or PEM private key without passphrase") from error
    if not keys:
        raise Invalid("the service has no host key; the controller makes them when the config is applied")
    kinds = [key.get_algorithm() for key in keys]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise Invalid(f"two host keys are of type {kind}; a client could not choose")
    return tuple(keys)


def ssh_options(keys: Sequence[asyncssh.SSHKey], algorithms: Profile) -> asyncssh.SSHServerConnectionOptions:
    """Make the options of all connections of one listener; each connection puts its own `host_keys` into them."""
    offered = offer(algorithms)
    return asyncssh.SSHServerConnectionOptions(
        config=None,  # Neither the user's nor the host's files say anything here.
        server_version="MFT",
        server_host_keys=host_keys(keys, algorithms),
        gss_host=None,
        host_based_auth=False,
        kex_algs=offered.kex,
        encryption_algs=offered.ciphers,
        mac_algs=offered.macs,
        signature_algs=offered.signatures,
        compression_algs=offered.compressions,
        allow_pty=False,
        agent_forwarding=False,
        x11_forwarding=False,
        line_editor=False,
        encoding=None,
        keepalive_interval=KEEPALIVE_S,
        keepalive_count_max=KEEPALIVES_MAX,
        login_timeout=0,  # Ours covers the PROXY header too, and is read from the config at each login.
    )
