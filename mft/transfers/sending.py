"""Bytes from a source to a temp file at the destination; goes on where an attempt of the same term was cut off.

What is gone on with was never named in an `intent`. It is given a new name first, by the rename with which a takeover
steals, so no temp name is ever made or written by two attempts. What an old connection may still write through its open
handle are the same bytes at the same place, because the source is the same. Whether the whole is right is compared by
its hash before `intent`.

What is converted on its way is not gone on with but begun anew: at each place the state of both codecs would have to be
remembered, for files that are rarely large.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from mft.errors import Conflict, Invalid, MftError, Unavailable
from mft.transfers.context import RunContext
from mft.transfers.converting import Conversion, rule_for
from mft.transfers.failures import CHANGED, UNCONVERTIBLE
from mft.transfers.hashing import Hashing
from mft.transfers.memory import Partial
from mft.transfers.remotes.base import Content, Entry
from mft.transfers.taking import Taken

RESUMED_BYTES_MIN = 1024 * 1024
"""Smaller sources are sent anew: two looks and a comparison cost more."""


class Sending:
    """One upload: the temp name it has, and what is known of the content so far."""

    def __init__(self, context: RunContext, taken: Taken, source: Entry) -> None:
        self._context = context
        self._taken = taken
        self.source = source
        """As it was when reading began."""
        self.temp = context.new_temp(taken.delivery)
        self.bytes_done = 0
        """Sent, or found there."""
        self.is_resumed = False
        self.sha256 = ""
        """Of all that was sent, once it is."""
        rules = context.spec.conversions
        rule = rule_for(rules, taken.name, context.moment_of(taken.delivery)) if rules else None
        self._conversion = Conversion(rule) if rule is not None else None
        self._is_marked = context.spec.resume and source.size_bytes >= RESUMED_BYTES_MIN and rule is None
        self._hashing = Hashing(context.threads, source.size_bytes, is_marked=self._is_marked)

    @property
    def path(self) -> str:
        """Where the temp file stands."""
        return self._context.at_destination(self.temp)

    @property
    def _bytes_read(self) -> int:
        """Of the source."""
        return self.bytes_done if self._conversion is None else self._conversion.bytes_read

    async def send(self) -> None:
        """Read the source and write it; raises as the remotes do.

        Raises:
            Conflict: the source has changed meanwhile.
            Invalid: the content cannot be converted, and nobody has changed it.
        """
        try:
            await self._send()
        except Invalid as error:
            if error.stable_code == UNCONVERTIBLE:
                error.location, error.role = self._context.spec.source_location, "source"
                await self._check_source(is_read=False)  # What ends in half a character may be written on.
            raise
        await self._check_source(is_read=True)

    async def _send(self) -> None:
        context, taken = self._context, self._taken
        context.permit.check()
        if self._is_marked:
            await self._go_on()
        elif self._conversion is not None:
            context.memory.recall(taken.delivery)  # Of before there was this rule; forgotten, the next sweep has it.
        begun_at = self.bytes_done
        async with context.source.read(taken.path(context.spec.source_path), self.bytes_done) as pieces:
            content = pieces if self._conversion is None else self._conversion.all_of(pieces)
            await context.destination.write(self.path, self._passed_on(content), self.bytes_done)
        self.sha256 = await self._hashing.end()
        if self._conversion is not None or self.bytes_done in {0, begun_at}:
            context.progress(taken.delivery, taken.name, self._bytes_read, self.source.size_bytes)

    async def _check_source(self, *, is_read: bool) -> None:
        """Compare the source with what it was when reading began and, once it is read, its size with what was read."""
        after = await self._context.source.lstat(self._taken.path(self._context.spec.source_path))
        if after != self.source or (is_read and self._bytes_read != self.source.size_bytes):
            message = f"{self._taken.name} changed while it was read; it is sent again when it is stable"
            raise Conflict(message, code=CHANGED)

    def remember(self) -> None:
        """Keep what was done, for the next attempt. Call only when no `intent` has named this temp file."""
        if marks := self._hashing.marks():
            partial = Partial(self.temp, self._context.term, self.source, marks)
            self._context.memory.remember(self._taken.delivery, partial)

    async def _go_on(self) -> None:
        """Find what an earlier attempt has left and take it over, as far as it certainly stands there."""
        context = self._context
        partial = context.memory.recall(self._taken.delivery)
        if partial is None or partial.term != context.term:
            return
        old = context.at_destination(partial.temp)
        context.permit.check()
        try:
            there = (await context.destination.lstat(old)).size_bytes
            marks = [mark for mark in partial.marks if mark.offset_bytes <= there <= self.source.size_bytes]
            if not marks or partial.source != self.source:
                await context.destination.remove(old)
                return
            await context.destination.rename(old, self.path)
        except Unavailable:
            context.memory.remember(self._taken.delivery, partial)
            raise
        except MftError:
            return
        self.is_resumed = True
        self.bytes_done = marks[-1].offset_bytes
        self._hashing = Hashing(context.threads, self.source.size_bytes, marks, is_marked=True)

    async def _passed_on(self, pieces: AsyncIterator[Content]) -> AsyncIterator[Content]:
        """Pass the content on, as long as the term lasts: hash it, keep to the pace, tell of the progress."""
        context, name, size_bytes = self._context, self._taken.name, self.source.size_bytes
        progress = context.progress if self._conversion is None else self._tell_what_is_read
        async for piece in pieces:
            await self._hashing.add(piece)
            await context.throttle(len(piece))
            context.permit.check()
            yield piece
            self.bytes_done += len(piece)
            progress(self._taken.delivery, name, self.bytes_done, size_bytes)

    def _tell_what_is_read(self, delivery: str, name: str, _: int, size_bytes: int) -> None:
        """Tell of the progress of a conversion: how much it comes to nobody knows, but how much there is to read.

        Of a block the last is told as not read yet: who is told that all is done takes the file for finished, once.
        """
        self._context.progress(delivery, name, min(self._bytes_read, max(size_bytes - 1, 0)), size_bytes)
