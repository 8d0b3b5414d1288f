"""`[locations.ID]`: local folders and remote servers that transfers read from and write to."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mft.model.spec import Port, Seconds, Secret, Spec


class LocalLocationSpec(Spec, frozen=True, kw_only=True, tag="local", tag_field="type"):
    """A folder on storage that the nodes share."""

    name: str = ""
    root: str = "/"
    """Absolute folder to which a transfer's paths are relative."""


class ProxySpec(Spec, frozen=True, kw_only=True):
    """A proxy through which a partner is reached. The partner's name is resolved there."""

    kind: Literal["socks5", "http"]
    """`socks5`: RFC 1928. `http`: the CONNECT method."""
    address: str
    port: Port
    username: str = ""
    password: Secret | None = None


class SshLocationSpec(Spec, frozen=True, kw_only=True):
    """What a partner's SSH server needs, whichever way files go there; the base of `sftp` and `scp`."""

    name: str = ""
    address: str
    port: Port = 22
    username: str
    password: Secret | None = None
    private_key: Secret | None = None
    """OpenSSH or PEM private key, without a passphrase (it is sealed by the cluster's key)."""
    host_keys: tuple[str, ...]
    """Who the server must prove to be: public keys (`ssh-ed25519 AAAA…`) or fingerprints (`SHA256:…`). At least one."""
    algorithms: Literal["modern", "legacy"] = "modern"
    """`legacy` adds SHA-1 MACs and ssh-rsa for old appliances; never needed by a server of the last ten years."""
    proxy: ProxySpec | None = None
    connect_timeout_s: Seconds = 15.0
    call_timeout_s: Seconds = 60.0
    """How long one answer of the server may take before the connection counts as lost."""
    keep_open_s: Annotated[float, Meta(ge=0, le=86400)] = 300.0
    """How long a connection that no transfer uses is kept for the next run; 0: closed with the last run that uses
    it."""
    parallel_files_max: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Files on their way to or from this partner at one time, of all transfers together, also over other locations at
    the same address and port that have a bound; 0: no bound of its own."""
    bandwidth_bytes_s: Annotated[int, Meta(ge=0)] = 0
    """Bytes a second to and from this partner, of all transfers together as with `parallel_files_max`, also what is
    read back or archived; 0: as fast as it goes."""
    sweeps_temp: bool = False
    """The partner removes or takes temp files (`.*.part`) by itself. A delivery whose temp file is gone is then
    *uncertain* instead of proven."""

    @property
    def server(self) -> str:
        """Name the server, which may have several locations: they share its limits."""
        return f"{self.address.lower()}:{self.port}"


class SftpLocationSpec(SshLocationSpec, frozen=True, kw_only=True, tag="sftp", tag_field="type"):
    """A partner's SFTP server."""


class ScpLocationSpec(SshLocationSpec, frozen=True, kw_only=True, tag="scp", tag_field="type"):
    """A partner's SSH server without SFTP, where the account may run commands of a POSIX shell, as `scp` needs it."""


LocationSpec = LocalLocationSpec | SftpLocationSpec | ScpLocationSpec
"""Union of all kinds of location."""
