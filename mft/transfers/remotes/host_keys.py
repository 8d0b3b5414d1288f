"""Whether an SSH server is the one it should be: its host key against those that the location names."""

from __future__ import annotations

import asyncssh

from mft.errors import Invalid


class HostKeyClient(asyncssh.SSHClient):
    """Accepts a server only by a named fingerprint; full keys are matched by asyncssh itself before it asks here."""

    def __init__(self, fingerprints: frozenset[str]) -> None:
        self._fingerprints = fingerprints

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Say whether the key's SHA-256 fingerprint is one of the location's."""
        return key.get_fingerprint("sha256").rstrip("=") in self._fingerprints


def split_host_keys(host_keys: tuple[str, ...]) -> tuple[list[asyncssh.SSHKey], frozenset[str]]:
    """Divide a location's `host_keys` into full public keys and fingerprints (`SHA256:…`, without padding).

    Raises:
        Invalid: one of them is neither.
    """
    keys, fingerprints = [], set()
    for text in host_keys:
        if text.startswith("SHA256:"):
            fingerprints.add(text.rstrip("="))
            continue
        try:
            keys.append(asyncssh.import_public_key(text))
        except asyncssh.KeyImportError as error:
            raise Invalid(f"host key {text[:40]!r} is neither an OpenSSH public key nor SHA256:…") from error
    return keys, frozenset(fingerprints)
