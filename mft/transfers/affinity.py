"""Which transfers one worker has to make all passes of: limits of a partner are kept within a process."""

from __future__ import annotations

from mft.model.config import Config
from mft.model.locations import LocationSpec
from mft.model.transfers import locations_of


def affinities(config: Config) -> dict[str, str]:
    """Give transfer → a name that it shares with all whose passes must be made by the same worker.

    Two transfers belong together if they share a location with limits, also over others. One alone has a name of its
    own, by which it stays with a worker that remembers its files.
    """
    # The archive's location counts like the two ends: what is copied there goes by the same worker's limits.
    limited = {id for id, spec in config.locations.items() if _is_limited(spec)}
    root: dict[str, str] = {id: id for id in limited}

    def find(id: str) -> str:
        while root[id] != id:
            root[id] = root[root[id]]
            id = root[id]
        return id

    for spec in config.transfers.values():
        ends = sorted(limited.intersection(locations_of(spec)))
        for other in ends[1:]:
            root[find(other)] = find(ends[0])
    found = {}
    for id, spec in config.transfers.items():
        ends = sorted(limited.intersection(locations_of(spec)))
        found[id] = f"location {find(ends[0])}" if ends else f"transfer {id}"
    return found


def _is_limited(spec: LocationSpec) -> bool:
    """Say whether all transfers together may only do so much at this location."""
    return bool(getattr(spec, "parallel_files_max", 0) or getattr(spec, "bandwidth_bytes_s", 0))
