"""Whether etcd is still the store that this process knows, or has gone back in time: restored from a backup.

Revisions do not tell it (a restore may raise them), nor does etcd's cluster id (it stays the same). So each process
counts: every few seconds it puts a greater number under its mark, and keeps the last one on its disk. A store that has
less than that, or is back in an incarnation that this process has seen end, is an old one. Only a backup that has all
marks is not noticed: one that was made in the last seconds before etcd was lost.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

import structlog
from msgspec import DecodeError, Struct, json, structs

from mft.cluster import files
from mft.cluster.keys import Keys
from mft.cluster.restore import Gate, decode_gate
from mft.cluster.values import read
from mft.errors import Invalid, Unavailable
from mft.etcd.kv import Kv
from mft.etcd.ops import Delete, Get, Put, mod_revision, value
from mft.etcd.records import KeyValue

BEAT_S = 10.0
"""How often a process marks the store."""
FILE = "life.json"
_ATTEMPTS_MAX = 5
_WRITE_S = 2.0
"""Nobody leads meanwhile, and a disk that hangs must not keep another node from it."""


class Known(Struct, frozen=True, kw_only=True):
    """What a process knows of the store, in its file."""

    lives: tuple[str, ...]
    """Incarnations that it has seen, the oldest first; the last one is the present."""
    count: int
    """The greatest number that it has put under its mark in that one."""
    mark: str = ""
    """Which key that is: under another name it has put none."""


class Mark(Struct, frozen=True, kw_only=True):
    """Value of a mark."""

    incarnation: str
    count: int


_marks_in = json.Decoder(Mark)


class Seen(NamedTuple):
    """What etcd is, at one moment."""

    incarnation: str = ""
    """Empty: no controller has prepared it yet."""
    gate: Gate | None = None
    """Nobody may lead as long as it stands."""
    went_back: str = ""
    """Why it is certain that it has gone back in time; empty: it has not."""


class Life:
    """The mark of one process."""

    def __init__(self, kv: Kv, keys: Keys, mark: str, file: Path) -> None:
        """`mark` is the key, `file` what is known of the store from before."""
        self._kv = kv
        self._keys = keys
        self._mark = mark
        self._file = file
        self._known: Known | None = None
        self._is_read = False
        self._is_writing = False
        # Of two at one time the one that was answered late would take its own old number for the store's.
        self._one_beat = asyncio.Lock()
        self._log = structlog.get_logger()

    @property
    def is_new(self) -> bool:
        """Whether this process has seen no incarnation but the present one."""
        return self._known is None or len(self._known.lives) == 1

    async def beat(self) -> Seen:
        """Look whether etcd is the one that this process knows, and mark it if it is.

        Raises:
            Unavailable: etcd, or the file, cannot be read.
            Invalid: the file is damaged.
            MftError: a newer program says something in etcd that this one cannot read.
        """
        async with self._one_beat:
            return await self._beat()

    async def _beat(self) -> Seen:
        if not self._is_read:
            self._known = await asyncio.to_thread(self._read)
            self._is_read = True
        keys = self._keys
        for _ in range(_ATTEMPTS_MAX):
            gets = [Get(keys.incarnation), Get(self._mark), Get(keys.restore)]
            result = await self._kv.txn(when=[], then=gets, idempotent=True)
            incarnation, mark, gate = (result.listing(n).kv for n in range(3))
            if incarnation is None:
                return Seen()
            life, stands = (
                incarnation.value.decode("utf-8", "replace"),
                read(_marks_in, mark.value, mark.key) if mark else None,
            )
            went_back = judge(self._known, life, stands)
            if went_back:
                if await self._is_present(incarnation, mark):
                    return Seen(life, _gate(gate.value, life) if gate else None, went_back)
                continue
            count = stands.count + 1 if stands and stands.incarnation == life else 1
            result = await self._kv.txn(
                when=[
                    value(keys.incarnation) == incarnation.value,
                    mod_revision(self._mark) == (mark.mod_revision if mark else 0),
                ],
                then=[Put(self._mark, json.encode(Mark(incarnation=life, count=count))), Get(keys.restore)],
            )
            if result.succeeded:
                await self._keep(life, count)
                gate = result.listing(1).kv
                return Seen(life, _gate(gate.value, life) if gate else None)
        raise Unavailable("others mark etcd under the name of this instance: two run under one name")

    async def _is_present(self, incarnation: KeyValue, mark: KeyValue | None) -> bool:
        """Say whether the store is as it was read. A server that was frozen may answer a read from its past."""
        result = await self._kv.txn(
            when=[
                value(self._keys.incarnation) == incarnation.value,
                mod_revision(self._mark) == (mark.mod_revision if mark else 0),
            ],
            # A write, so that it goes through consensus, although nothing stands there.
            then=[Delete(f"{self._mark}/none")],
            idempotent=True,
        )
        return result.succeeded

    async def _keep(self, life: str, count: int) -> None:
        lives = self._known.lives if self._known else ()
        lives = lives if lives[-1:] == (life,) else (*lives, life)
        self._known = Known(lives=lives, count=count, mark=self._mark)
        if self._is_writing:
            return  # For a disk that hangs; the next beat tries again.
        try:
            async with asyncio.timeout(_WRITE_S):
                await asyncio.to_thread(self._write, json.encode(self._known))
        except (Unavailable, TimeoutError) as error:
            # A restore is noticed all the same, if this process lives on; others have files of their own.
            self._log.warning("what is known of etcd cannot be kept", reason=str(error) or "the disk does not answer")

    def _write(self, data: bytes) -> None:
        self._is_writing = True
        try:
            files.write(self._file, data)
        finally:
            self._is_writing = False

    def _read(self) -> Known | None:
        data = files.read(self._file)
        try:
            known = None if data is None else json.decode(data, type=Known)
        except DecodeError as error:
            raise Invalid(
                f"{self._file} is damaged; without it a restore of etcd is not noticed. Remove it if there was none:"
                f" {error}"
            ) from error
        # An instance that was given another name has its folder from before, but counts anew.
        return structs.replace(known, count=0) if known and known.mark not in ("", self._mark) else known


def judge(known: Known | None, life: str, mark: Mark | None) -> str:
    """Say why the store is an old one; empty if it is not. Pure."""
    if known is None or not known.lives:
        return ""
    if life != known.lives[-1]:
        return f"it is in incarnation {life} again, which had ended" if life in known.lives else ""
    if not known.count:
        return ""
    if mark is None or mark.incarnation != life:
        return "it does not know this instance's mark"
    return f"it knows {mark.count} marks of {known.count}" if mark.count < known.count else ""


def _gate(data: bytes, life: str) -> Gate | None:
    gate = decode_gate(data)
    return gate if gate.incarnation == life else None
