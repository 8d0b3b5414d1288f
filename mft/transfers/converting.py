"""Content that becomes another on its way: text in another encoding, with other line ends. A piece at a time.

However a content is cut, the same comes out. The codecs keep what a cut has parted of a character; of a line end that
is parted (CR | LF) the first half is kept here. So the state between two pieces is a few bytes, whatever the file.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from mft.errors import Invalid
from mft.model.dates import Moment
from mft.model.encodings import MARK_DECIDES, MARKED, encoding_of, is_ebcdic
from mft.model.expressions import compile_expression
from mft.model.transfer_parts import ConversionRule
from mft.transfers.failures import UNCONVERTIBLE
from mft.transfers.remotes.base import Content

_BLOCK_BYTES = 64 * 1024
"""Converted in one go. As text it is up to four times as much, in UTF-32 with other line ends up to eight times; and
the loop does nothing else meanwhile, for under a millisecond as a rule."""
_MARK, _MARK_TURNED = "\ufeff", "\ufffe"
"""A byte order mark, and what is read in its place where the bytes are in the other order."""
_NEL = "\x85"
_ENDS: Mapping[str, str] = {"keep": "", "lf": "\n", "crlf": "\r\n", "nel": _NEL}
_BYTES = "iso8859-1"
"""Stands for no encoding at all: it has a character for each byte."""


def rule_for(rules: Sequence[ConversionRule], path: str, moment: Moment) -> ConversionRule | None:
    """Give the rule by which the file at `path` under the source folder is converted; None if it is sent as it is.

    `moment` is that of dates in expressions.
    """
    for rule in rules:
        if compile_expression(rule.match).matches(path, moment):
            return rule if rule.converts else None
    return None


class Conversion:
    """One content on its way from one text to another. What it has made is not to be taken back: an error ends it."""

    def __init__(self, rule: ConversionRule) -> None:
        self._from = encoding_of(rule.encoding_from) or _BYTES
        self._to = encoding_of(rule.encoding_to) or _BYTES
        self._decoder = codecs.getincrementaldecoder(self._from)("strict")
        self._encoder = codecs.getincrementalencoder(MARKED.get(self._to, self._to))("strict")
        self._end = _ENDS[rule.line_ends]
        self._has_nel = is_ebcdic(self._from)
        self._held = ""
        """A CR at the end of what came: whether it ends a line shows what follows."""
        self._is_begun = False
        """The first character of the source is behind us."""
        self._is_mark_due = self._to in MARKED
        self.bytes_read = 0
        """Of the source."""

    async def all_of(self, pieces: AsyncIterator[Content]) -> AsyncIterator[Content]:
        """Give what the whole content becomes.

        Raises:
            Invalid: it is not text in the one encoding, or no text in the other.
        """
        async for piece in pieces:
            for made in self.add(piece):
                yield made
        if last := self.end():
            yield last

    def add(self, piece: Content) -> Iterator[bytes]:
        """Give what the next piece becomes; raises as `all_of`."""
        for start in range(0, len(piece), _BLOCK_BYTES):
            if made := self._made(bytes(piece[start : start + _BLOCK_BYTES])):
                yield made

    def end(self) -> bytes:
        """Give what is left, after the last piece; raises as `all_of`."""
        return self._made(b"", is_last=True)

    def _made(self, block: bytes, *, is_last: bool = False) -> bytes:
        before, begins_at = self._decoder.getstate(), self.bytes_read
        self.bytes_read += len(block)
        try:
            text = self._decoder.decode(block, is_last)
        except UnicodeDecodeError as error:
            # The codec's own count begins with what it had kept of earlier blocks.
            at = self.bytes_read - len(error.object) + error.start
            what = f"at byte offset {at} stands 0x{error.object[error.start]:02x}, which is no {self._from}"
            raise _unconvertible(f"{what} ({error.reason})", "encoding_from") from error
        except UnicodeError as error:
            what = f"it does not begin with the byte order mark that {self._from} needs"
            raise _unconvertible(what, "encoding_from: -le or -be at its end says the order") from error
        with_ends = self._with_ends(self._with_mark(text), is_last=is_last)
        try:
            return self._encoder.encode(with_ends, is_last)
        except UnicodeEncodeError as error:
            lacking = error.object[error.start]
            at = self._place_of(lacking, text, (before, block, begins_at))
            what = f"at byte offset {at} stands U+{ord(lacking):04X} {unicodedata.name(lacking, '')}".rstrip()
            raise _unconvertible(f"{what}, which {self._to} does not have", "encoding_to") from error

    def _with_mark(self, text: str) -> str:
        """Take the mark off the beginning of the source's text, and put one before that of the destination."""
        if text and not self._is_begun:
            self._is_begun = True
            if text[0] == _MARK_TURNED:
                what = f"its byte order mark says that its bytes are in another order than {self._from} has them"
                raise _unconvertible(what, "encoding_from")
            if text[0] == _MARK and self._from not in MARK_DECIDES:  # There the codec has taken it.
                text = text[1:]
        if text and self._is_mark_due:
            self._is_mark_due = False
            text = _MARK + text
        return text

    def _with_ends(self, text: str, *, is_last: bool) -> str:
        """Give each line its new end. A CR at the end of the text waits for what follows it."""
        if not self._end:
            return text
        text, self._held = self._held + text, ""
        if not is_last and text.endswith("\r"):
            text, self._held = text[:-1], "\r"
        if self._has_nel:
            text = text.replace(_NEL, "\n")
        text = text.replace("\r\n", "\n")
        return text if self._end == "\n" else text.replace("\n", self._end)

    def _place_of(self, lacking: str, text: str, read: tuple[tuple[bytes, int], bytes, int]) -> int:
        """Say at which byte of the source this character stands. `read`: state before the block, block, its place.

        What an encoding does not have it has nowhere: so it is the first of its kind in the block, and no line end.
        """
        state, block, begins_at = read
        index, at = text.index(lacking), begins_at - len(state[0])
        self._decoder.setstate(state)
        characters = 0
        for number in range(len(block)):
            characters += len(self._decoder.decode(block[number : number + 1]))
            if characters > index:
                break
            if not self._decoder.getstate()[0]:
                at = begins_at + number + 1
        return at


def _unconvertible(what: str, field: str) -> Invalid:
    return Invalid(
        f"its content cannot be converted: {what}. Correct the file, or in the transfer's conversions {field}",
        code=UNCONVERTIBLE,
    )
