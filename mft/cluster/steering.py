"""What operators ask of a transfer for longer than one leadership lasts: to pause. A key that no lease ends.

steer/<transfer>    {"paused": true, "by": …, "at": …, "reason": …}; no key or `false`: not paused

Written by a controller, followed by the leader of the transfer's group. That a pause is in etcd, and not in a message
to the leader, is what makes it hold through a failover and a restart of everything.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
from msgspec import Struct, json

from mft.cluster.keys import Keys
from mft.etcd.kv import Kv


class Steer(Struct, frozen=True, kw_only=True):
    """Value of `steer/<transfer>`."""

    paused: bool = True
    by: str = ""
    """Who asked for it."""
    at: float = 0.0
    """Seconds since 1970."""
    reason: str = ""


_encode = json.Encoder().encode
_decode = json.Decoder(Steer).decode


async def pause(kv: Kv, keys: Keys, transfer: str, by: str, reason: str = "") -> None:
    """Have the transfer begin nothing until it is resumed; files under way are finished.

    Raises:
        Unavailable: etcd cannot be reached.
        Invalid: no transfer can have this name.
    """
    steer = Steer(by=by, at=time.time(), reason=reason)
    await kv.put(keys.steer(transfer), _encode(steer), idempotent=True)


async def resume(kv: Kv, keys: Keys, transfer: str, by: str) -> bool:
    """Have the transfer go on; it looks at once. Returns whether it was paused. Raises as `pause` does."""
    if transfer not in await read_pauses(kv, keys):
        return False
    # Not removed: its leader is to learn by whom.
    await kv.put(keys.steer(transfer), _encode(Steer(paused=False, by=by, at=time.time())), idempotent=True)
    return True


async def read_pauses(kv: Kv, keys: Keys) -> Mapping[str, Steer]:
    """List the transfers that are paused. Raises `Unavailable` if etcd cannot be reached."""
    listing = await kv.get_prefix(keys.steers)
    steers = decode_steers(keys, {kv.key: kv.value for kv in listing.kvs})
    return {transfer: steer for transfer, steer in steers.items() if steer.paused}


def decode_steers(keys: Keys, values: Mapping[str, bytes]) -> Mapping[str, Steer]:
    """Give transfer → what was asked of it last, from what stands under `steer/`."""
    steers = {}
    for key, value in values.items():
        try:
            steer = _decode(value)
        except msgspec.DecodeError:
            # Of a newer program, or written by hand: whoever put something there did not want the transfer to run.
            steer = Steer(reason="what etcd holds under this transfer's `steer/` cannot be read")
        steers[key.removeprefix(keys.steers)] = steer
    return steers
