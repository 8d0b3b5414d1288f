"""`[services.ID]`: inbound listeners."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mft.model.scope import RunOn
from mft.model.spec import Port, Seconds, Secret, Spec


class ListenerSpec(Spec, frozen=True, kw_only=True):
    """Where a service listens and as whom it shows itself: its identity. A change here restarts the service."""

    address: str = "0.0.0.0"
    port: Port
    proxy_protocol: Literal["off", "optional", "required"] = "off"
    """Whether a PROXY protocol header (v1 or v2) tells the client's address; honoured only from `proxy_trusted`."""
    proxy_trusted: tuple[str, ...] = ()
    """Addresses or networks (CIDR) of load balancers whose PROXY header is believed."""
    host_keys: tuple[Secret, ...] = ()
    """Private host keys (OpenSSH PEM), the same on all nodes. Empty: the controller makes them once and keeps them."""
    algorithms: Literal["modern", "legacy"] = "modern"
    """`legacy` adds SHA-1 MACs and ssh-rsa for old appliances; never needed by a client of the last ten years."""


class SftpServiceSpec(Spec, frozen=True, kw_only=True, tag="sftp", tag_field="type"):
    """One SFTP service. `listener` is its identity: only a change there restarts it."""

    enabled: bool = True
    name: str = ""
    run_on: RunOn = "all"
    listener: ListenerSpec
    drain_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """Seconds that open sessions may finish after a stop: long enough for a large upload's last block, short enough
    for a roll-out."""
    login_timeout_s: Seconds = 30.0
    idle_timeout_s: Seconds = 300.0
    sessions_max: Annotated[int, Meta(ge=1, le=100_000)] = 10_000
    """Sessions at one time, for each node."""
    banner: str = ""
    """Shown by the client before login."""
    uploads: Literal["atomic", "direct"] = "atomic"
    """`atomic`: a new file appears under its name when it is complete; one cut off is removed. `direct`: it grows in
    place, so a client can resume it."""


ServiceSpec = SftpServiceSpec
"""Union of all kinds of service; a new protocol is one more member."""
