"""Content that becomes another on its way: what arrives, what is compared, what goes on after a failure."""

from __future__ import annotations

import hashlib
import tracemalloc
from typing import Any, Literal

import msgspec
import pytest

from mft.errors import LeadershipLost, Unavailable
from mft.events import catalogue
from mft.model.delivery import Record
from mft.model.transfer_parts import ArchiveSpec, BatchSpec, ConversionRule, RetrySpec
from mft.transfers.sending import RESUMED_BYTES_MIN
from tests.integration.transfers.conftest import Bench, each_way
from tests.integration.transfers.files import Asked, at_mib, cut, reasons, run_with, told, tree

MIB = 1024 * 1024
TO_UTF8 = ConversionRule(match="*.host", encoding_from="cp273", encoding_to="utf-8", line_ends="crlf")
TEXT = "Grüße an alle [Häuser]\x85" * 3
HERE, THERE = TEXT.encode("cp273"), TEXT.replace("\x85", "\r\n").encode()
MANY = 12 * MIB // len(HERE)
LARGE_HERE, LARGE_THERE = HERE * MANY, THERE * MANY


def change(bench: Bench, *rules: ConversionRule, **changes: Any) -> None:
    """Change the bench's transfer: these rules, or the one of these tests."""
    bench.spec = msgspec.structs.replace(bench.spec, conversions=rules or (TO_UTF8,), **changes)


def bytes_of(bench: Bench) -> dict[str, tuple[int, str]]:
    """Return name → size and SHA-256 as event 60012 has told them."""
    events = [fields for id, fields in bench.events if id == catalogue.FILE_DELIVERED]
    return {fields["path"].rpartition("/")[2]: (fields["size_bytes"], fields["sha256"]) for fields in events}


def both(content: bytes) -> tuple[int, str]:
    """Return size and SHA-256."""
    return len(content), hashlib.sha256(content).hexdigest()


@each_way
@pytest.mark.parametrize("check", ["size", "hash", "read-back"])
async def test_it_arrives_converted(bench: Bench, check: Literal["size", "hash", "read-back"]) -> None:
    """Goal: what arrives is told of, compared and journalled. Method: files with and without a rule, an empty one."""
    change(bench, content_check=check)
    for name, content in {"a.host": HERE, "large.host": LARGE_HERE, "empty.host": b"", "b": HERE}.items():
        bench.give(name, content)
    written: dict[str, Record] = {}
    bench.journal.after = lambda delivery, state: written.update(
        {record.name: record for record in bench.journal.records.values() if record.state == state == "intent"}
    )
    tally = await bench.run()
    assert (tally.delivered, tally.failed) == (4, 0)
    expected = {"a.host": THERE, "large.host": LARGE_THERE, "empty.host": b"", "b": HERE}
    assert bench.arrived() == expected
    assert bytes_of(bench) == {name: both(content) for name, content in expected.items()}
    assert {name: (record.size_bytes, record.sha256) for name, record in written.items()} == bytes_of(bench)
    bench.check_settled()


@pytest.mark.parametrize("check", ["hash", "read-back"])
async def test_damage_on_the_way_is_found(bench: Bench, check: Literal["hash", "read-back"]) -> None:
    """Goal: what arrived is compared with what was sent. Method: change a byte at the partner meanwhile."""
    change(bench, content_check=check)
    bench.give("a.host", LARGE_HERE)

    def damage() -> None:
        [temp] = bench.temps()
        with (bench.inbox / temp).open("r+b") as file:
            file.write(b"?")

    assert (await run_with(bench, permit=at_mib(9, damage))).failed == 1
    assert "not what was sent" in reasons(bench)[0]
    assert (bench.arrived(), bench.temps()) == ({}, [])
    await bench.run()
    assert bench.arrived() == {"a.host": LARGE_THERE}
    bench.check_settled()


async def test_small_files_without_a_rule_go_together(bench: Bench) -> None:
    """Goal: only what is converted goes by itself. Method: the order of the journal's writes."""
    change(bench, ConversionRule(match="raw*"), ConversionRule(match="*.host|raw*", line_ends="lf"))
    names = [*(f"f{number}" for number in range(6)), "raw.host"]
    for name in (*names, "a.host"):
        bench.give(name, b"a\r\n")
    await bench.run()
    assert bench.arrived() == dict.fromkeys(names, b"a\r\n") | {"a.host": b"a\n"}
    states = "".join(state[0] for _, state in bench.journal.told)
    assert ("i" * len(names) in states) or ("i" * (len(names) + 1) in states)
    bench.check_settled()


@each_way
async def test_large_content_needs_little_memory(bench: Bench) -> None:
    """Goal: bounded memory, whatever the size. Method: 24 MiB of source, with Python's own count of what it holds."""
    change(bench)
    with (bench.out / "a.host").open("wb") as file:
        for _ in range(2):
            file.write(LARGE_HERE)
    tracemalloc.start()
    try:
        assert (await bench.run()).delivered == 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB
    assert bench.arrived() == {"a.host": LARGE_THERE * 2}
    bench.check_settled()


@each_way
async def test_what_cannot_be_converted_is_put_aside(bench: Bench) -> None:
    """Goal: never half a file, and the others go on. Method: a wrong byte at the end; then correct it and send it."""
    utf8 = ConversionRule(encoding_from="utf-8", encoding_to="cp1252")
    change(bench, utf8, retry=RetrySpec(first_s=1e-6, most_s=1e-6, attempts_max=2))
    bench.give("bad", b"x" * 3 * MIB + b"\xff")
    bench.give("lacks", "zł".encode())
    bench.give("good", "für 5 €".encode())
    tallies = [await bench.run() for _ in range(4)]
    assert [tally.failed for tally in tallies] == [2, 2, 0, 0]
    assert bench.arrived() == {"good": "für 5 €".encode("cp1252")}
    assert bench.temps() == []
    records = {record.name: (delivery, record) for delivery, record in bench.journal.records.items()}
    assert {record.state for _, record in records.values()} == {"quarantined"}
    assert f"at byte offset {3 * MIB} stands 0xff, which is no utf-8" in records["bad"][1].reason
    assert "at byte offset 1 stands U+0142 LATIN SMALL LETTER L WITH STROKE, which cp1252" in records["lacks"][1].reason
    assert told(bench, catalogue.FILE_QUARANTINED) == 2
    delivery, record = records["lacks"]
    (bench.out / ".mft" / delivery / "lacks").write_bytes(b"zl")
    await bench.journal.put(delivery, msgspec.structs.replace(record, state="taken"))  # As `resend` does.
    await bench.run(8)
    assert bench.arrived()["lacks"] == b"zl"


async def test_half_a_character_may_be_written_on(bench: Bench) -> None:
    """Goal: a file that is still being written is not blamed. Method: it ends within a character, and then goes on."""
    change(bench, ConversionRule(encoding_from="utf-8", encoding_to="cp1252"), retry=RetrySpec(attempts_max=1))
    bench.give("a", b"x" * 2 * MIB + "é".encode()[:1])

    def write_on() -> None:
        [path] = bench.out.glob(".mft/*/a")
        with path.open("ab") as file:
            file.write("é".encode()[1:])

    assert (await run_with(bench, permit=at_mib(1, write_on))).failed == 1
    assert "changed while it was read" in reasons(bench)[0]
    assert told(bench, catalogue.FILE_QUARANTINED) == 0


@each_way
async def test_a_converted_upload_is_taken_over_by_a_rename(bench: Bench) -> None:
    """Goal: it is published once, as it was converted. Method: the leader ends at its intent; then the rule changes."""
    change(bench)
    bench.give("a.host", HERE)
    bench.journal.after = lambda _, state: LeadershipLost("killed") if state == "intent" else None
    with pytest.raises(LeadershipLost):
        await bench.run()
    assert bench.arrived() == {}
    bench.journal.after = lambda _delivery, _state: None
    change(bench, ConversionRule(match="*.host", encoding_from="ascii", encoding_to="ascii"))
    await bench.run(8, sweep=True)
    assert bench.arrived() == {"a.host": THERE}
    assert bytes_of(bench) == {"a.host": both(THERE)}
    bench.check_settled()


async def test_a_leader_that_ends_while_it_converts(bench: Bench) -> None:
    """Goal: no half of it is published. Method: leadership is lost in the middle of the upload."""
    change(bench)
    bench.give("a.host", LARGE_HERE)

    def lose() -> None:
        raise LeadershipLost("killed")

    with pytest.raises(LeadershipLost):
        await run_with(bench, permit=at_mib(5, lose))
    assert len(bench.temps()) == 1
    await bench.run(8, sweep=True)
    assert bench.arrived() == {"a.host": LARGE_THERE}
    bench.check_settled()


async def test_what_was_cut_off_is_begun_anew(bench: Bench) -> None:
    """Goal: no state is guessed, and the old part is swept. Method: cut it twice; the second time with another rule."""
    bench.give("a.host", LARGE_HERE)
    with pytest.raises(Unavailable):
        await run_with(bench, permit=at_mib(8, cut))
    change(bench)
    with pytest.raises(Unavailable):
        await run_with(bench, permit=at_mib(8, cut))
    assert len(bench.temps()) == 2
    seen: list[int] = []
    await run_with(bench, sweep=True, progress=lambda _delivery, _name, done, _size: seen.append(done))
    assert min(seen) < RESUMED_BYTES_MIN
    assert bench.arrived() == {"a.host": LARGE_THERE}
    bench.check_settled()


async def test_limits_and_progress(bench: Bench) -> None:
    """Goal: limits are of what is sent, progress of what is read; the end is told once. Method: count what is asked."""
    change(bench, content_check="read-back")
    bench.give("a.host", LARGE_HERE)
    sent, read_back, seen = Asked(), Asked(), list[tuple[int, int]]()

    def progress(delivery: str, name: str, bytes_done: int, size_bytes: int) -> None:
        seen.append((bytes_done, size_bytes))

    await run_with(bench, throttle=sent, throttle_read_back=read_back, progress=progress)
    assert sent.size_bytes == read_back.size_bytes == len(LARGE_THERE)
    assert {size_bytes for _, size_bytes in seen} == {len(LARGE_HERE)}
    done = [bytes_done for bytes_done, _ in seen]
    assert done == sorted(done)
    assert (done.count(len(LARGE_HERE)), done[-1]) == (1, len(LARGE_HERE))
    assert len(done) > 10


@pytest.mark.parametrize("delete_source", [True, False])
async def test_the_source_stays_what_it_is(bench: Bench, delete_source: bool) -> None:
    """Goal: archive and kept sources have the source's own bytes. Method: two passes with each."""
    change(bench, delete_source=delete_source, archive=ArchiveSpec(path="done", name="exact"))
    bench.give("a.host", HERE)
    assert [(await bench.run()).delivered for _ in range(2)] == [1, 0]
    assert bench.arrived() == {"a.host": THERE}
    assert tree(bench.source / "done") == {"a.host": HERE}
    assert bench.left() == ([] if delete_source else ["a.host"])


async def test_a_batch_is_converted_as_a_whole(bench: Bench) -> None:
    """Goal: a file that cannot be converted holds its batch. Method: one wrong byte, corrected later by a new rule."""
    change(
        bench, ConversionRule(match="*.txt", encoding_from="ascii", encoding_to="cp037"), batch=BatchSpec(marker="end")
    )
    for name, content in {"a.txt": b"a", "b.txt": b"\xe4", "end": b""}.items():
        bench.give(name, content)
    await bench.run()
    assert bench.arrived() == {}
    change(bench, ConversionRule(match="*.txt", encoding_from="cp1252", encoding_to="cp037"))
    await bench.run()
    assert bench.arrived() == {"a.txt": b"\x81", "b.txt": b"\x43", "end": b""}
    bench.check_settled()
