"""Whether an SSH server is the one it should be, by its host key, and what it is told when it asks for a password."""

from __future__ import annotations

from collections.abc import Sequence

import asyncssh

from mft.errors import Invalid


class PartnerClient(asyncssh.SSHClient):
    """Accepts a server only by a named fingerprint; full keys are matched by asyncssh itself before it asks here."""

    def __init__(self, fingerprints: frozenset[str], password: str | None) -> None:
        self._fingerprints = fingerprints
        self._password = password
        self.shown = ""
        """Kind and fingerprint of the key that the server has shown, if that is none of the location's."""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Say whether the key's SHA-256 fingerprint is one of the location's."""
        fingerprint = key.get_fingerprint("sha256").rstrip("=")
        self.shown = f"{key.get_algorithm()} {fingerprint}"
        return fingerprint in self._fingerprints

    def kbdint_auth_requested(self) -> str | None:
        """Take part in a dialogue (RFC 4256) where there is a password: some servers ask for it in no other way."""
        return None if self._password is None else ""

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> Sequence[str] | None:
        """Answer one hidden question, in whatever language, by the password, once; nothing else."""
        if not prompts:
            return []
        if len(prompts) > 1 or prompts[0][1] or self._password is None:
            return None
        password, self._password = self._password, None
        return [password]


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
