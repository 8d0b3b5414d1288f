"""`[locations.ID]`: local folders and remote servers that transfers read from and write to."""

from __future__ import annotations

from mft.model.spec import Port, Seconds, Secret, Spec


class LocalLocationSpec(Spec, frozen=True, kw_only=True, tag="local", tag_field="type"):
    """A folder on storage that the nodes share."""

    name: str = ""
    root: str = "/"
    """Absolute folder to which a transfer's paths are relative."""


class SftpLocationSpec(Spec, frozen=True, kw_only=True, tag="sftp", tag_field="type"):
    """A partner's SFTP server."""

    name: str = ""
    address: str
    port: Port = 22
    username: str
    password: Secret | None = None
    private_key: Secret | None = None
    """OpenSSH or PEM private key, without a passphrase (it is sealed by the cluster's key)."""
    host_keys: tuple[str, ...]
    """Who the server must prove to be: public keys (`ssh-ed25519 AAAA…`) or fingerprints (`SHA256:…`). At least one."""
    connect_timeout_s: Seconds = 15.0
    call_timeout_s: Seconds = 60.0
    """How long one answer of the server may take before the connection counts as lost."""
    sweeps_temp: bool = False
    """The partner removes or takes temp files (`.*.part`) by itself. A delivery whose temp file is gone is then
    *uncertain* instead of proven."""


LocationSpec = LocalLocationSpec | SftpLocationSpec
"""Union of all kinds of location."""
