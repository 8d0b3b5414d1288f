"""Steps of many small files over one SFTP channel: all requests of a step leave together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from struct import error as StructError  # noqa: N812 - it is a class

from mft.transfers.remotes import sftp_wire as wire
from mft.transfers.remotes.sftp_exchange import Exchange, Outcome, Request
from mft.transfers.remotes.sftp_wire import Answer, Code, Flag, Garbled, Kind, Refused


async def send_whole(exchange: Exchange, files: Sequence[tuple[str, bytes]], *, in_order: bool) -> list[int | None]:
    """Make a new file of each content, each at most one request, sync, close and look at it.

    Returns with which size each stands there; None where the server refused a part of that. A server that works in
    order gets all but the opening at one time.
    """
    flags = Flag.WRITE | Flag.CREATE | Flag.EXCLUSIVE
    opening = [Request(Kind.OPEN, wire.opening(path, flags)) for path, _ in files]
    handles = [_handle(exchange, answer) for answer in await exchange.ask(opening, partial(_close, exchange))]
    has_sync = wire.FSYNC in exchange.extensions
    most = exchange.write_bytes_max
    steps = [
        _steps(handle, path, content, has_sync=has_sync) if handle is not None and len(content) <= most else []
        for handle, (path, content) in zip(handles, files, strict=True)
    ]
    for handle, requests in zip(handles, steps, strict=True):
        if handle is not None and not requests:
            exchange.let_go(handle)
    answers = await _in_order(exchange, steps) if in_order else await _one_by_one(exchange, handles, steps)
    return [_size(exchange, requests, taken) for requests, taken in zip(steps, answers, strict=True)]


def _steps(handle: bytes, path: str, content: bytes, *, has_sync: bool) -> list[Request]:
    """Give what is asked for one open file, in order."""
    file = wire.string(handle)
    requests = [Request(Kind.WRITE, wire.writing(handle, 0, len(content)), content)] if content else []
    if has_sync:
        requests.append(Request(Kind.EXTENDED, wire.string(wire.FSYNC) + file))
    return [*requests, Request(Kind.CLOSE, file), Request(Kind.LSTAT, wire.path(path))]


async def _in_order(exchange: Exchange, steps: list[list[Request]]) -> list[list[Answer]]:
    """Ask all at one time; even where this is cancelled, each handle's CLOSE is on its way."""
    answers = iter(await exchange.ask([request for requests in steps for request in requests]))
    return [[next(answers) for _ in requests] for requests in steps]


async def _one_by_one(
    exchange: Exchange, handles: list[bytes | None], steps: list[list[Request]]
) -> list[list[Answer]]:
    """Ask for each file the next when the one before is answered: elsewhere a sync could overtake a write."""
    answers: list[list[Answer]] = [[] for _ in steps]
    is_closing = set[int]()
    try:
        for step in range(max(map(len, steps), default=0)):
            due = [index for index, requests in enumerate(steps) if step < len(requests)]
            is_closing.update(index for index in due if steps[index][step].kind == Kind.CLOSE)
            for index, answer in zip(due, await exchange.ask([steps[index][step] for index in due]), strict=True):
                answers[index].append(answer)
    except BaseException:
        for index, handle in enumerate(handles):
            if handle is not None and steps[index] and index not in is_closing:
                exchange.let_go(handle)
        raise
    return answers


def _handle(exchange: Exchange, answer: Answer) -> bytes | None:
    try:
        return exchange.taken(answer, wire.handle)
    except Refused:
        return None


def _close(exchange: Exchange, outcome: Outcome) -> None:
    """Close what was opened for nobody."""
    if isinstance(outcome, Answer) and outcome.kind == Kind.HANDLE:
        with suppress(Garbled, StructError):
            exchange.let_go(wire.handle(outcome))


def _size(exchange: Exchange, requests: list[Request], answers: list[Answer]) -> int | None:
    """Conclude from all answers of one file with which size it stands there."""
    if not requests:
        return None
    try:
        for request, answer in zip(requests[:-1], answers, strict=False):
            try:
                exchange.taken(answer, wire.status)
            except Refused as error:
                # A sync is a courtesy that the server need not know.
                if request.kind != Kind.EXTENDED or error.code != Code.UNSUPPORTED:
                    return None
        return exchange.taken(answers[-1], partial(wire.attributes, name="")).size_bytes
    except Refused:
        return None
