"""Algorithms and limits of the SFTP service's SSH.

Source: RFC 9142 and what clients of the last ten years speak. `modern` leaves out all that rests on SHA-1; `legacy`
adds it back for old appliances, for one listener, never for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import asyncssh

from mft.errors import Invalid
from mft.model.services import ListenerSpec

KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp521",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp256",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
)
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
SIGNATURES = (
    "ssh-ed25519",
    "ssh-ed448",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
LEGACY_KEX = ("diffie-hellman-group14-sha1",)
LEGACY_MACS = ("hmac-sha1-etm@openssh.com", "hmac-sha1")
LEGACY_SIGNATURES = ("ssh-rsa",)

KEEPALIVE_S = 60
KEEPALIVES_MAX = 3
"""A peer that does not answer three requests, a minute apart, is gone. Below the idle timers of load balancers."""


def host_keys(keys: Sequence[asyncssh.SSHKey], algorithms: Literal["modern", "legacy"]) -> list[asyncssh.SSHKeyPair]:
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


def ssh_options(
    keys: Sequence[asyncssh.SSHKey], algorithms: Literal["modern", "legacy"]
) -> asyncssh.SSHServerConnectionOptions:
    """Make the options of all connections of one listener; each connection puts its own `host_keys` into them."""
    legacy = algorithms == "legacy"
    return asyncssh.SSHServerConnectionOptions(
        config=None,  # Neither the user's nor the host's files say anything here.
        server_version="MFT",
        server_host_keys=host_keys(keys, algorithms),
        gss_host=None,
        host_based_auth=False,
        kex_algs=KEX + (LEGACY_KEX if legacy else ()),
        encryption_algs=CIPHERS,
        mac_algs=MACS + (LEGACY_MACS if legacy else ()),
        signature_algs=SIGNATURES + (LEGACY_SIGNATURES if legacy else ()),
        compression_algs=("none", "zlib@openssh.com"),
        allow_pty=False,
        agent_forwarding=False,
        x11_forwarding=False,
        line_editor=False,
        encoding=None,
        keepalive_interval=KEEPALIVE_S,
        keepalive_count_max=KEEPALIVES_MAX,
        login_timeout=0,  # Ours covers the PROXY header too, and is read from the config at each login.
    )
