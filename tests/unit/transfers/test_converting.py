"""Content becomes the same however it is cut, in each encoding, with each line end; what cannot be is said exactly."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import pytest

from mft.errors import Invalid
from mft.model.dates import Moment
from mft.model.encodings import ENCODINGS, MARKED, is_ebcdic
from mft.model.transfer_parts import ConversionRule
from mft.transfers.converting import Conversion, rule_for
from mft.transfers.failures import UNCONVERTIBLE

NOW = Moment(1_700_000_000.0, UTC)
ENDS = {"lf": "\n", "crlf": "\r\n", "nel": "\x85"}
CHARACTERS = [
    *map(chr, range(0x20, 0x7F)),
    *map(chr, range(0xA0, 0x600)),
    *map(chr, range(0xE01, 0xE30)),
    *map(chr, range(0x2010, 0x2030)),
    *map(chr, range(0x3041, 0x3100)),
    *map(chr, range(0x4E00, 0x4F00)),
    *map(chr, range(0xAC00, 0xAC80)),
    *map(chr, range(0x1F600, 0x1F640)),
    "€",
    # One character of some encodings, two of Unicode: the second decides what the first becomes.
    "\u304b\u309a",
    "\u00ca\u0304",
    "\u02e9\u02e5",
]


def knows(encoding: str, character: str) -> bool:
    """Say whether the encoding has this character, and gives the same one back."""
    try:
        return character.encode(encoding).decode(encoding) == character
    except UnicodeError:
        return False


def text_in(encoding: str, rng: random.Random, length: int = 150) -> str:
    """Make text of what the encoding has, with line ends of all kinds near each other."""
    letters = rng.sample([character for character in CHARACTERS if knows(encoding, character)], 60)
    ends = ["\n", "\r\n", "\r", "\r\r\n", "\n\n", "a"]
    return "".join(rng.choices(letters, k=3)) + "".join(rng.choices(letters + ends * 4, k=length)) + rng.choice(ends)


def cut(content: bytes, rng: random.Random) -> list[bytes | memoryview]:
    """Cut content into small pieces, some of them views and some empty, as remotes may give them."""
    pieces, at, view = list[bytes | memoryview](), 0, memoryview(content)
    while at < len(content):
        size = rng.choice((0, 1, 1, 1, 2, 3, 5, 40))
        pieces.append(view[at : at + size] if size % 2 else content[at : at + size])
        at += size
    return pieces


def converted(pieces: Sequence[bytes | memoryview], **rule: Any) -> bytes:
    """Convert a content that comes in these pieces."""
    conversion = Conversion(ConversionRule(**rule))
    made = [made for piece in pieces for made in conversion.add(piece)]
    made.append(conversion.end())
    assert conversion.bytes_read == sum(map(len, pieces))
    return b"".join(made)


def refusal(pieces: Sequence[bytes | memoryview], **rule: Any) -> str:
    """Convert what cannot be converted; give what is said of it."""
    with pytest.raises(Invalid) as told:
        converted(pieces, **rule)
    assert told.value.stable_code == UNCONVERTIBLE
    return str(told.value)


@pytest.mark.parametrize("line_ends", ["keep", "lf", "crlf"])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_any_cut_gives_what_the_whole_gives(encoding: str, line_ends: str) -> None:
    """Goal: no piece's border is seen in what arrives. Method: from and to each encoding, whole and cut at random.

    What is right is what Python makes of the whole text.
    """
    rng = random.Random(f"{encoding} {line_ends}")
    for _ in range(3):
        text = text_in(encoding, rng)
        wanted = re.sub("\r\n|\n", lambda found: ENDS.get(line_ends, found[0]), text)
        mark = "\ufeff" if encoding in {"utf-16", "utf-32"} else ""
        here = (mark + text).encode(MARKED.get(encoding, encoding))
        there = (("\ufeff" if encoding in MARKED else "") + wanted).encode(MARKED.get(encoding, encoding))
        reading: dict[str, Any] = {"encoding_from": encoding, "encoding_to": "utf-8", "line_ends": line_ends}
        writing: dict[str, Any] = {"encoding_from": "utf-8", "encoding_to": encoding, "line_ends": line_ends}
        for _ in range(4):
            assert converted(cut(here, rng), **reading) == wanted.encode()
            assert converted(cut(text.encode(), rng), **writing) == there
        assert converted([here], **reading) == wanted.encode()
        assert converted([text.encode()], **writing) == there


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_where_it_is_wrong_does_not_depend_on_the_cut(encoding: str) -> None:
    """Goal: the place in the message can be looked at. Method: damage a byte, or end early, and cut at random.

    The place is the one that Python gives for the whole.
    """
    rng, refused = random.Random(encoding), 0
    wrong = [byte for byte in range(256) if not bytes([byte]).decode(encoding, "ignore")]
    for _ in range(40):
        content = bytearray((("\ufeff" if encoding in MARKED else "") + text_in(encoding, rng)).encode(encoding))
        content[rng.randrange(4, len(content))] = rng.choice(wrong or range(256))
        damaged = bytes(content[: rng.randrange(4, len(content) + 1)])
        try:
            damaged.decode(encoding)
        except UnicodeDecodeError as error:
            # With its mark `utf-8-sig` counts from behind it.
            start = len(damaged) - len(error.object) + error.start
            told = refusal(cut(damaged, rng), encoding_from=encoding, encoding_to="utf-8")
            assert f"at byte offset {start} stands 0x{damaged[start]:02x}, which is no {encoding}" in told
            assert told == refusal([damaged], encoding_from=encoding, encoding_to="utf-8")
            refused += 1
    assert bool(refused) is bool(wrong)  # Some encodings have a character for each byte.


@pytest.mark.parametrize("target", ["ascii", "cp037", "shift_jis", "shift_jisx0213", "big5hkscs"])
@pytest.mark.parametrize("source", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32-le", "gb18030"])
@pytest.mark.parametrize("line_ends", ["keep", "crlf"])
def test_a_character_that_the_target_lacks(source: str, target: str, line_ends: str) -> None:
    """Goal: it is named, with its place in the source. Method: put one into text that fits, cut at random."""
    rng = random.Random(f"{source} {target}")
    for length in (0, 1, 40, 150):
        text = text_in(target, rng, length)
        at = rng.randrange(len(text) + 1)
        before = text[:at].encode(source)
        content = (text[:at] + "\U0001f600" + text[at:] + "\U0001f600").encode(source)
        rule: dict[str, Any] = {"encoding_from": source, "encoding_to": target, "line_ends": line_ends}
        place = len(before) if before or source not in MARKED else len("\ufeff".encode(MARKED[source]))
        wanted = f"at byte offset {place} stands U+1F600 GRINNING FACE, which {target} does not have"
        assert wanted in refusal([content], **rule)
        assert wanted in refusal(cut(content, rng), **rule)


@pytest.mark.parametrize(
    ("source", "target", "here", "there"),
    [
        ("utf-8", "utf-16-le", b"\xef\xbb\xbfa", b"a\0"),
        ("utf-8-sig", "utf-8", b"\xef\xbb\xbfa", b"a"),
        ("utf-8-sig", "utf-8", b"a", b"a"),
        ("utf-8", "utf-8-sig", b"a", b"\xef\xbb\xbfa"),
        ("utf-8", "utf-8-sig", b"\xef\xbb\xbfa", b"\xef\xbb\xbfa"),
        ("utf-8", "utf-16", b"a", b"\xff\xfea\0"),
        ("utf-8", "utf-32", b"a", b"\xff\xfe\0\0a\0\0\0"),
        ("utf-16", "utf-8", b"\xff\xfea\0", b"a"),
        ("utf-16", "utf-8", b"\xfe\xff\0a", b"a"),
        ("utf-16", "utf-16", b"\xfe\xff\0a", b"\xff\xfea\0"),
        ("utf-16-le", "utf-8", b"\xff\xfea\0", b"a"),
        ("utf-16-be", "utf-8", b"\xfe\xff\0a", b"a"),
        ("utf-32-be", "cp037", b"\0\0\xfe\xff\0\0\0a", b"\x81"),
        ("utf-8", "utf-8", "a\ufeffb".encode(), "a\ufeffb".encode()),
        ("utf-8", "utf-16", b"", b""),
        ("utf-8", "utf-8-sig", b"\xef\xbb\xbf", b""),
        ("utf-16", "utf-8", b"", b""),
    ],
)
def test_byte_order_marks(source: str, target: str, here: bytes, there: bytes) -> None:
    """Goal: a mark is read, not passed on, written where the encoding says so. Method: each case, also byte by byte."""
    assert converted([here], encoding_from=source, encoding_to=target) == there
    assert converted([bytes([byte]) for byte in here], encoding_from=source, encoding_to=target) == there


@pytest.mark.parametrize(
    ("source", "here", "said"),
    [
        ("utf-16", b"a\0b\0", "does not begin with the byte order mark that utf-16 needs"),
        ("utf-32", b"a\0\0\0b\0\0\0", "does not begin with the byte order mark that utf-32 needs"),
        ("utf-16-le", b"\xfe\xff\0a", "in another order than utf-16-le"),
        ("utf-16-be", b"\xff\xfea\0", "in another order than utf-16-be"),
        (
            "utf-8",
            b"ab\xff",
            "at byte offset 2 stands 0xff, which is no utf-8 (invalid start byte). Correct the file, or",
        ),
        ("utf-8", "ab€".encode()[:-1], "at byte offset 2 stands 0xe2, which is no utf-8 (unexpected end of data)"),
        ("utf-16-le", "a😀".encode("utf-16-le")[:-2], "at byte offset 2 stands 0x3d, which is no utf-16-le"),
        ("cp1252", b"a\x81", "at byte offset 1 stands 0x81, which is no cp1252"),
    ],
)
def test_what_is_said_of_content_that_is_something_else(source: str, here: bytes, said: str) -> None:
    """Goal: what, where, and what to do. Method: each case, also byte by byte."""
    for pieces in ([here], [bytes([byte]) for byte in here]):
        told = refusal(pieces, encoding_from=source, encoding_to="utf-8")
        assert said in told
        assert "in the transfer's conversions encoding_from" in told


def rule(line_ends: str, source: str = "", target: str = "") -> dict[str, Any]:
    return {"line_ends": line_ends, "encoding_from": source, "encoding_to": target}


@pytest.mark.parametrize(
    ("rule", "here", "there"),
    [
        (rule("lf"), b"a\r\nb\nc\rd\r\r\n\x85\r", b"a\nb\nc\rd\r\n\x85\r"),
        (rule("crlf"), b"a\r\nb\nc\rd\r\r\n\n\xff\r", b"a\r\nb\r\nc\rd\r\r\n\r\n\xff\r"),
        (rule("crlf", "latin-1", "utf-8"), b"\xe4\n\x85", b"\xc3\xa4\r\n\xc2\x85"),
        (rule("lf", "utf-16-le", "utf-16-le"), b"a\0\r\0\n\0", b"a\0\n\0"),
        (rule("lf", "cp037", "utf-8"), b"\x81\x15\x82\x25\x83\x0d\x25\x0d", b"a\nb\nc\n\r"),
        (rule("crlf", "cp500", "cp1252"), b"\x81\x0d\x15\x82\x15", b"a\r\nb\r\n"),
        (rule("keep", "cp273", "utf-8"), b"\x81\x15\x25", "a\x85\n".encode()),
        (rule("nel", "utf-8", "cp273"), "ä\r\nb\n".encode(), b"\xc0\x15\x82\x15"),
        (rule("lf", "utf-8", "cp037"), b"a\r\n", b"\x81\x25"),
    ],
)
def test_line_ends(rule: dict[str, Any], here: bytes, there: bytes) -> None:
    """Goal: CR LF, LF and in EBCDIC NEL end lines, nothing else. Method: each case, also byte by byte."""
    assert converted([here], **rule) == there
    assert converted([bytes([byte]) for byte in here], **rule) == there


def test_the_code_pages_of_mainframes() -> None:
    """Goal: what they are for is in them. Method: brackets and umlauts, as the code pages' tables have them."""
    assert {encoding for encoding in ENCODINGS if is_ebcdic(encoding)} == {
        *("cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140")
    }
    for encoding, content in {"cp037": b"\xba\x43\xbb", "cp500": b"\x4a\x43\x5a", "cp273": b"\x63\xc0\xfc"}.items():
        assert converted(["[ä]".encode()], encoding_from="utf-8", encoding_to=encoding) == content
        assert converted([content], encoding_from=encoding, encoding_to="utf-8") == "[ä]".encode()


def test_a_large_piece_is_given_on_in_parts() -> None:
    """Goal: memory is bounded whatever comes at one time. Method: eight mebibytes of the shortest lines at once."""
    conversion = Conversion(ConversionRule(encoding_from="utf-8", encoding_to="utf-32", line_ends="crlf"))
    made = [len(made) for made in conversion.add(b"\n" * (8 * 1024 * 1024))]
    assert sum(made) == 4 + 8 * 1024 * 1024 * 8
    assert max(made) <= 4 + 512 * 1024


def test_the_first_rule_that_matches_counts() -> None:
    """Goal: what is to stay as it is can be named first. Method: paths in folders, with and without a rule."""
    keep = ConversionRule(match="raw/**")
    lines, text = (
        ConversionRule(match="*.txt", line_ends="lf"),
        ConversionRule(encoding_from="utf-8", encoding_to="ascii"),
    )
    rules = (keep, lines, text)
    assert rule_for(rules, "raw/a.txt", NOW) is None
    assert rule_for(rules, "a/b.txt", NOW) is lines
    assert rule_for(rules, "a.csv", NOW) is text
    assert rule_for((lines,), "a.csv", NOW) is None
    assert rule_for((), "a.csv", NOW) is None
    dated = ConversionRule(match="t/{date}.txt/", line_ends="lf")
    assert rule_for((dated,), "20231114.txt", NOW) is dated
    assert rule_for((dated,), "20231115.txt", NOW) is None
