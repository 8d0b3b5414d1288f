"""Which transfers one worker has to make all passes of: limits of a partner are kept within a process."""

from __future__ import annotations

from mft.model.config import Config
from mft.model.locations import LocationSpec, SshLocationSpec
from mft.model.transfers import locations_of


def affinities(config: Config) -> dict[str, str]:
    """Give transfer → a name that it shares with all whose passes must be made by the same worker.

    Two transfers belong together if they share a server with limits, also over others. One alone has a name of its
    own, by which it stays with a worker that remembers its files.
    """
    limited = {id: server for id, spec in config.locations.items() if (server := _limited_server(spec))}
    root: dict[str, str] = {server: server for server in limited.values()}

    def find(id: str) -> str:
        while root[id] != id:
            root[id] = root[root[id]]
            id = root[id]
        return id

    # The archive's location counts like the two ends: what is copied there goes by the same worker's limits.
    servers = {
        id: sorted({limited[end] for end in locations_of(spec) if end in limited})
        for id, spec in config.transfers.items()
    }
    for ends in servers.values():
        for other in ends[1:]:
            root[find(other)] = find(ends[0])
    found = {}
    for id, ends in servers.items():
        found[id] = f"server {find(ends[0])}" if ends else f"transfer {id}"
    return found


def _limited_server(spec: LocationSpec) -> str:
    """Name the server of a location at which all transfers together may only do so much; empty: they may."""
    if isinstance(spec, SshLocationSpec) and (spec.parallel_files_max or spec.bandwidth_bytes_s):
        return spec.server
    return ""
