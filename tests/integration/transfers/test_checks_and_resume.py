"""That what arrives is what was sent, and that an upload which was cut off goes on where it stands."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from mft.errors import MftError, Unavailable
from mft.events import catalogue
from mft.model.locations import LocalLocationSpec
from mft.transfers.located import LocatedRemote
from mft.transfers.sending import RESUMED_BYTES_MIN
from tests.integration.transfers.conftest import Bench, bench_at, sftp_location
from tests.integration.transfers.files import Asked, at_mib, cut, reasons, run_with, told, tree
from tests.rig.sshd import Sshd

CONTENT = os.urandom(20 * 1024 * 1024 + 77)


class Watch:
    """What a run tells of its progress."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, delivery: str, name: str, bytes_done: int, size_bytes: int) -> None:
        """Take note."""
        assert size_bytes == len(CONTENT)
        self.seen.append(bytes_done)

    @property
    def began_at(self) -> int:
        """Bytes that were not sent in this run; a piece has at most so many as are taken off."""
        return max(0, min(self.seen) - RESUMED_BYTES_MIN)


def damage(bench: Bench) -> Callable[[], None]:
    """Give what changes a byte at the beginning of the temp file at the partner, not its size."""

    def do() -> None:
        [temp] = bench.temps()
        with (bench.inbox / temp).open("r+b") as file:
            file.write(bytes([CONTENT[0] ^ 1]))

    return do


@pytest.mark.parametrize("check", ["hash", "read-back"])
async def test_damage_on_the_way_is_found(bench: Bench, check: Literal["hash", "read-back"]) -> None:
    """Goal: what differs gets no final name, and is sent again. Method: change a byte at the partner meanwhile."""
    bench.spec = msgspec.structs.replace(bench.spec, content_check=check)
    bench.give("a", CONTENT)
    tally = await run_with(bench, permit=at_mib(9, damage(bench)))
    assert (tally.delivered, tally.failed) == (0, 1)
    assert "not what was sent" in reasons(bench)[0]
    assert (bench.arrived(), bench.temps(), bench.journal.records) == ({}, [], {})
    assert (await bench.run()).delivered == 1
    assert bench.arrived() == {"a": CONTENT}
    bench.check_settled()


@pytest.mark.parametrize("check", ["size", "read-back"])
async def test_what_is_read_back_keeps_to_the_pace(bench: Bench, check: Literal["size", "read-back"]) -> None:
    """Goal: reading back counts towards the partner's limit. Method: count what is asked of the throttles."""
    bench.spec = msgspec.structs.replace(bench.spec, content_check=check)
    sizes = [3_000_000, 7, 0]
    for number, size_bytes in enumerate(sizes):
        bench.give(str(number), bytes(size_bytes))
    sent, read_back = Asked(), Asked()
    assert (await run_with(bench, throttle=sent, throttle_read_back=read_back)).delivered == len(sizes)
    assert sent.size_bytes == sum(sizes)
    assert read_back.size_bytes == (sum(sizes) if check == "read-back" else 0)


async def test_a_server_that_ends_the_connection_over_a_hash(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: it is read back instead, and not asked for ever. Method: the connection is lost with the request."""
    bench.spec = msgspec.structs.replace(bench.spec, content_check="hash")
    bench.give("a", b"content")

    async def lost(self: LocatedRemote, path: str) -> str | None:
        raise Unavailable("the connection is closed")

    monkeypatch.setattr(LocatedRemote, "sha256", lost)
    with pytest.raises(Unavailable):
        await bench.run()
    assert (await bench.run()).delivered == 1
    assert bench.arrived() == {"a": b"content"}


async def test_a_wrong_size_is_found(bench: Bench) -> None:
    """Goal: the size is always compared. Method: somebody appends to the temp file while it is written."""
    bench.give("a", CONTENT)

    def append() -> None:
        [temp] = bench.temps()
        with (bench.inbox / temp).open("ab") as file:
            file.write(bytes(len(CONTENT)))

    tally = await run_with(bench, permit=at_mib(9, append))
    assert (tally.delivered, tally.failed) == (0, 1)
    assert "arrived" in reasons(bench)[0]
    assert (await bench.run()).delivered == 1
    assert bench.arrived() == {"a": CONTENT}
    bench.check_settled()


async def test_progress_is_told_to_the_end(bench: Bench) -> None:
    """Goal: each file's last word is its size, an empty one's too. Method: an empty, a small and a larger file."""
    seen: dict[str, list[int]] = {}
    sizes = {"empty": 0, "small": 7, "larger": 3_000_000}
    for name, size_bytes in sizes.items():
        bench.give(name, bytes(size_bytes))

    def progress(delivery: str, name: str, bytes_done: int, size_bytes: int) -> None:
        assert size_bytes == sizes[name]
        seen.setdefault(name, []).append(bytes_done)

    await run_with(bench, progress=progress)
    assert {name: told[-1] for name, told in seen.items()} == sizes
    assert len(seen["larger"]) > 1
    assert all(told == sorted(told) for told in seen.values())


async def cut_off(bench: Bench) -> None:
    with pytest.raises(Unavailable):
        await run_with(bench, permit=at_mib(8, cut))
    assert len(bench.temps()) == 1


async def test_an_upload_goes_on(bench: Bench) -> None:
    """Goal: what stands at the partner is not sent again, a sweep spares it. Method: cut twice, then let it be."""
    bench.give("a", CONTENT)
    await cut_off(bench)
    watch = Watch()
    with pytest.raises(Unavailable):
        # More than may be under way, so that some is written whatever the load.
        await run_with(bench, sweep=True, permit=at_mib(10, cut), progress=watch)
    assert watch.began_at > 2 * RESUMED_BYTES_MIN
    again = Watch()
    assert (await run_with(bench, sweep=True, progress=again)).delivered == 1
    assert again.began_at > watch.began_at
    assert again.seen[-1] == len(CONTENT)
    assert bench.arrived() == {"a": CONTENT}
    bench.check_settled()


async def begins_anew(bench: Bench, **changes: Any) -> None:
    watch = Watch()
    assert (await run_with(bench, sweep=True, progress=watch, **changes)).delivered == 1
    assert watch.began_at == 0
    assert bench.arrived() == {"a": CONTENT}
    bench.check_settled()


async def test_another_term_begins_anew(bench: Bench) -> None:
    """Goal: only the term that began an upload goes on with it. Method: the same worker, a new term."""
    bench.give("a", CONTENT)
    await cut_off(bench)
    await begins_anew(bench, term=8)


async def test_a_changed_source_begins_anew(bench: Bench) -> None:
    """Goal: no mixture of two contents. Method: replace the taken source in between by one of the same size."""
    bench.give("a", bytes(len(CONTENT)))
    await cut_off(bench)
    [left] = bench.left()
    (bench.out / left).unlink()
    (bench.out / left).write_bytes(CONTENT)
    await begins_anew(bench)


async def test_without_the_option_it_begins_anew(bench: Bench) -> None:
    """Goal: `resume = false` is obeyed. Method: as above."""
    bench.spec = msgspec.structs.replace(bench.spec, resume=False)
    bench.give("a", CONTENT)
    await cut_off(bench)
    await begins_anew(bench)


async def test_a_part_that_is_gone_begins_anew(bench: Bench) -> None:
    """Goal: a partner that removes temp files costs only time. Method: remove it in between."""
    bench.give("a", CONTENT)
    await cut_off(bench)
    (bench.inbox / bench.temps()[0]).unlink()
    await begins_anew(bench)


async def test_a_part_that_is_damaged_is_found(bench: Bench) -> None:
    """Goal: what is gone on with is compared as a whole. Method: change a byte of the part in between."""
    bench.give("a", CONTENT)
    await cut_off(bench)
    damage(bench)()
    assert (await run_with(bench)).failed == 1
    assert "not what was sent" in reasons(bench)[-1]
    assert bench.temps() == []
    await begins_anew(bench)


async def test_nothing_is_gone_on_with_after_an_intent(bench: Bench) -> None:
    """Goal: a file that a late intent may name is never moved. Method: the journal fails at the intent, unwritten."""
    bench.give("a", CONTENT)
    bench.journal.before = lambda _delivery, state: Unavailable("etcd is away") if state == "intent" else None
    with pytest.raises(Unavailable):
        await bench.run()
    bench.journal.before = lambda _delivery, _state: None
    assert [*bench.memory.temps(bench_term())] == []
    await begins_anew(bench)


def bench_term() -> Any:
    """Return the term of a bench's first runs."""
    from mft.model.delivery import Term

    return Term("life", 7)


async def test_a_download_goes_on(bench: Bench, shared_sshd: Sshd) -> None:
    """Goal: the same from a partner to a local folder. Method: source and destination change places."""
    if not isinstance(bench.location, LocalLocationSpec):
        pytest.skip("one direction is enough")
    bench.spec = msgspec.structs.replace(bench.spec, source_path=str(bench.out))
    spec = sftp_location(shared_sshd)
    source = LocatedRemote(await bench.pool.get("server", spec), "source", "source")
    bench.give("a", CONTENT)
    with pytest.raises(Unavailable):
        await run_with(bench, source=source, source_spec=spec, permit=at_mib(12, cut))
    watch = Watch()
    assert (await run_with(bench, source=source, source_spec=spec, sweep=True, progress=watch)).delivered == 1
    assert watch.began_at > 0
    assert bench.arrived() == {"a": CONTENT}
    bench.check_settled()


async def test_a_partner_that_is_killed_in_the_middle(sshd: Sshd, tmp_path: Path) -> None:
    """Goal: the same with a server that dies. Method: SIGKILL it between two pieces, start it again."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    async with bench_at(tmp_path, inbox, sftp_location(sshd)) as bench:
        bench.give("a", CONTENT)
        with pytest.raises(MftError):
            await run_with(bench, permit=at_mib(11, sshd.kill))
        await sshd.start()
        await bench.pool.discard("partner", await bench.remote())  # As the worker does after such an error.
        watch = Watch()
        assert (await run_with(bench, sweep=True, progress=watch)).delivered == 1
        assert watch.began_at > 0
        assert tree(inbox) == {"a": CONTENT}
        assert told(bench, catalogue.FILE_DELIVERED) == 1
        bench.check_settled()
