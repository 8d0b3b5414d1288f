"""The files of the event spool: lines of JSON in segments, appended at one end and removed at the other. Blocks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from mft.events.event import Event

_PLAIN, _KEPT = ".events", ".kept"
_PLACES_MAX = 16
"""Places remembered: a reader for each controller."""


class Line(msgspec.Struct, frozen=True):
    """One event in the spool."""

    sequence: int
    id: int
    at: float
    severity: str
    text: str
    fields: msgspec.Raw
    """A JSON object, as the controllers store it: nobody between looks into it."""

    @classmethod
    def of(cls, sequence: int, event: Event) -> Line:
        """Make the line of an event. In ASCII where a file name is no UTF-8, so that it comes through."""
        try:
            fields = msgspec.json.encode(event.fields, enc_hook=str)
        except UnicodeEncodeError:
            fields = json.dumps(dict(event.fields), default=str).encode()
        return cls(sequence, event.id, event.at, event.severity, event.text, msgspec.Raw(fields))

    def encode(self) -> bytes:
        """Write one object; in ASCII where need be, as above."""
        try:
            return _encode(self) + b"\n"
        except UnicodeEncodeError:
            return (
                json.dumps({**msgspec.structs.asdict(self), "fields": json.loads(bytes(self.fields))}).encode() + b"\n"
            )

    @classmethod
    def decode(cls, data: bytes) -> Line:
        """Read what `encode` wrote. Raises ValueError, TypeError, KeyError."""
        try:
            return _decode(data)
        except msgspec.DecodeError:
            line = json.loads(data)
            return cls(**{**line, "fields": msgspec.Raw(json.dumps(line["fields"]).encode())})


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class _Segment:
    """One file."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.first = int(path.stem)
        self.size_bytes = size_bytes
        self.last = self.first - 1

    @property
    def is_kept(self) -> bool:
        """Whether what may be lost was taken out already."""
        return self.path.suffix == _KEPT


class Segments:
    """All files of the spool, oldest first. The newest is the one that is appended to."""

    def __init__(self, folder: Path, bytes_max: int, segment_bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._segment_bytes_max = segment_bytes_max
        self._segments: list[_Segment] = []
        self._is_open = False
        """Whether the newest may be appended to: a line that a crash cut off must stay the last of its file."""
        self._places: dict[int, tuple[Path, int]] = {}
        """Sequence number → where the one after it begins: readers go on where they were."""

    def load(self) -> int:
        """Find the files that are there. Returns the greatest sequence number in them, 0 for none."""
        for leftover in self._folder.glob(".*.tmp"):
            leftover.unlink()
        paths = [path for path in self._folder.iterdir() if path.suffix in {_PLAIN, _KEPT} and path.stem.isdigit()]
        by_first = {int(path.stem): path for path in sorted(paths)}  # `.kept` after `.events`: it is the newer one.
        for path in set(paths) - set(by_first.values()):
            path.unlink()
        self._segments = [_Segment(path, path.stat().st_size) for _, path in sorted(by_first.items())]
        for segment, following in zip(self._segments, self._segments[1:], strict=False):
            segment.last = following.first - 1
        if not self._segments:
            return 0
        newest = self._segments[-1]
        newest.last = max((line.sequence for line, _ in _lines(newest.path, 0)), default=newest.first - 1)
        return newest.last

    def sync(self) -> None:
        """Flush the newest file to the disk."""
        if self._segments:
            descriptor = os.open(self._segments[-1].path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def append(self, lines: list[Line]) -> None:
        """Write these lines at the end."""
        if not self._is_open or self._segments[-1].size_bytes >= self._segment_bytes_max:
            path = self._folder / f"{lines[0].sequence:020d}{_PLAIN}"
            path.unlink(missing_ok=True)  # What is there was never whole.
            self._segments = [segment for segment in self._segments if segment.path != path]
            self._segments.append(_Segment(path, 0))
            self._is_open = True
        segment = self._segments[-1]
        descriptor = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            data = b"".join(line.encode() for line in lines)
            # At the place where the last whole line ended: an append that failed halfway is written over.
            os.ftruncate(descriptor, segment.size_bytes)
            written = 0
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], segment.size_bytes + written)
        finally:
            os.close(descriptor)
        segment.size_bytes += len(data)
        segment.last = lines[-1].sequence

    def read(self, sequence: int, limit: int) -> tuple[Line, ...]:
        """Return the first lines after this sequence number."""
        found: list[Line] = []
        for segment in self._segments:
            if segment.last <= sequence:
                continue
            path, offset = self._places.get(sequence, (segment.path, 0))
            for line, end in _lines(segment.path, offset if path == segment.path else 0):
                if line.sequence > segment.last:
                    break  # Of an append that failed halfway: the next one writes over it.
                if line.sequence > sequence:
                    found.append(line)
                    place = (segment.path, end)
                    if len(found) == limit:
                        break
            if len(found) == limit:
                break
        if found:
            if len(self._places) > _PLACES_MAX:
                self._places.clear()
            self._places[found[-1].sequence] = place
        return tuple(found)

    def has_before(self, sequence: int) -> bool:
        """Say whether there is a file of which all was up to this sequence number."""
        return bool(self._segments) and self._segments[0].last <= sequence

    def remove_up_to(self, sequence: int) -> None:
        """Remove the files of which all is up to this sequence number."""
        while self.has_before(sequence):
            self._remove_oldest()

    def make_room(self, is_expendable: Callable[[Line], bool], stored: int) -> int:
        """Keep the bound. Returns how many events after `stored` were lost for it."""
        lost = 0
        while len(self._segments) > 1 and sum(segment.size_bytes for segment in self._segments) > self._bytes_max:
            plain = next((n for n, segment in enumerate(self._segments[:-1]) if not segment.is_kept), None)
            if plain is not None:
                lost += self._reduce(plain, is_expendable, stored)
            else:
                lost += sum(line.sequence > stored for line, _ in _lines(self._segments[0].path, 0))
                self._remove_oldest()
        return lost

    def _reduce(self, index: int, is_expendable: Callable[[Line], bool], stored: int) -> int:
        """Take out of one file what may be lost."""
        old = self._segments[index]
        lines = [line for line, _ in _lines(old.path, 0)]
        kept = [line for line in lines if not is_expendable(line)]
        path = old.path.with_suffix(_KEPT)
        data = b"".join(line.encode() for line in kept)
        write_whole(path, data)
        old.path.unlink()
        old.path, old.size_bytes = path, len(data)
        self._places.clear()
        return sum(line.sequence > stored for line in lines) - sum(line.sequence > stored for line in kept)

    def _remove_oldest(self) -> None:
        oldest = self._segments.pop(0)
        oldest.path.unlink(missing_ok=True)
        self._is_open = self._is_open and bool(self._segments)


def _lines(path: Path, offset: int) -> Iterator[tuple[Line, int]]:
    """Yield the lines of a file and where each ends. A line that was cut off ends it."""
    with path.open("rb") as file:
        file.seek(offset)
        for data in file:
            offset += len(data)
            try:
                line = Line.decode(data)
            except (ValueError, TypeError, KeyError):
                return
            yield line, offset


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it has the old content or the new."""
    temp = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)
