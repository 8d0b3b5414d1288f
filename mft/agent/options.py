"""What an agent is started with. The guardian passes it on as one JSON argument, so it holds no secret."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from mft.model.scope import Role

if TYPE_CHECKING:
    from mft.etcd.channel import TlsOptions


class EtcdOptions(Struct, frozen=True, kw_only=True):
    """How etcd is reached."""

    endpoints: tuple[str, ...]
    """`host:port` of each member that may be asked."""
    ca: str | None = None
    """PEM file; with it, TLS is used."""
    cert: str | None = None
    key: str | None = None

    def tls(self) -> TlsOptions | None:
        """Give the client's TLS options; None for plain TCP. Imported late: a program's `--help` needs no grpc."""
        from mft.etcd.channel import TlsOptions

        if self.ca is None:
            return None
        paths = [Path(path) if path else None for path in (self.cert, self.key)]
        return TlsOptions(ca=Path(self.ca), certificate=paths[0], key=paths[1])


class AgentOptions(Struct, frozen=True, kw_only=True):
    """One instance: who it is, where etcd is, and where it keeps its data."""

    name: str
    role: Role
    cluster: str
    etcd: EtcdOptions
    data: str
    """Absolute folder of this instance alone, mode 0700."""
    trust: str | None = None
    """File with the controller's signing keys; without it they are pinned at the first join."""
    lease_ttl_s: int = 10
    inbound_workers: int = 1
    outbound_workers: int = 1
    health_address: str = ""
    """`host:port` of the health endpoint; empty: none."""
    stop_s: float = 30.0
    """Seconds that open sessions and runs may finish after SIGTERM."""
    log_format: Literal["human", "json"] = "human"
    log_level: str = "info"
