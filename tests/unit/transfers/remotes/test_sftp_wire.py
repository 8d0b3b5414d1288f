"""SFTP as bytes: what real servers answer, and what no server should."""

from __future__ import annotations

import struct

import pytest

from mft.transfers.remotes import sftp_wire as wire
from mft.transfers.remotes.sftp_wire import Answer, Code, Garbled, Kind, Refused


def answer(kind: int, body: bytes) -> Answer:
    return Answer(kind, memoryview(body))


def status(code: int, words: bytes = b"no") -> Answer:
    return answer(Kind.STATUS, struct.pack(">I", code) + wire.string(words) + wire.string(b""))


def test_a_request_is_head_and_body() -> None:
    """Goal: the draft's layout. Method: OPEN of a name that is no UTF-8, written out by hand."""
    body = wire.opening("ü\udcff", 0x0A)
    assert body == b"\x00\x00\x00\x03\xc3\xbc\xff" + b"\x00\x00\x00\x0a" + b"\x00\x00\x00\x00"
    assert wire.head(Kind.OPEN, 7, len(body)) + body == struct.pack(">IBI", 5 + len(body), 3, 7) + body
    assert wire.split_head(wire.head(Kind.OPEN, 7, len(body)), 0) == (5 + len(body), Kind.OPEN, 7)


def test_an_empty_path_is_the_folder_one_is_in() -> None:
    """Goal: no server is asked for a name that is none. Method: the empty path."""
    assert wire.encoded("") == b"."


def test_statuses() -> None:
    """Goal: done, refused and not understood are told apart. Method: one of each, with and without words."""
    wire.status(status(Code.OK))
    with pytest.raises(Refused, match="no") as refused:
        wire.status(status(Code.PERMISSION_DENIED))
    assert refused.value.code == Code.PERMISSION_DENIED
    with pytest.raises(Refused, match="status 4"):
        wire.status(answer(Kind.STATUS, struct.pack(">I", 4)))
    with pytest.raises(Garbled):
        wire.status(answer(Kind.DATA, b"\x00\x00\x00\x00"))


def test_the_end_of_a_file_or_folder_is_no_error() -> None:
    """Goal: reading and listing end. Method: EOF to both, and another refusal."""
    assert bytes(wire.data(status(Code.EOF))) == b""
    assert wire.names(status(Code.EOF)) == []
    with pytest.raises(Refused):
        wire.data(status(Code.FAILURE))


def test_names_with_all_attributes() -> None:
    """Goal: fields that are not needed are read over. Method: owner, times and an extended attribute, then a plain."""
    full = struct.pack(">IQIIIII", 0x8000000F, 12, 1, 2, 0o100644, 5, 6) + struct.pack(">I", 1)
    full += wire.string(b"key") + wire.string(b"value")
    plain = struct.pack(">II", 0x04, 0o040755)
    body = struct.pack(">I", 2) + wire.string(b"a") + wire.string(b"long a") + full
    body += wire.string(b"b\xff") + wire.string(b"") + plain
    first, second = wire.names(answer(Kind.NAME, body))
    assert (first.name, first.size_bytes, first.mtime, first.is_file, first.is_folder) == ("a", 12, 6.0, True, False)
    assert (second.name, second.size_bytes, second.is_file, second.is_folder) == ("b\udcff", 0, False, True)


@pytest.mark.parametrize("cut", [0, 3, 5, 8, 20])
def test_what_is_cut_off_is_noticed(cut: int) -> None:
    """Goal: no answer is believed that ends too early. Method: a listing, cut at several places."""
    whole = struct.pack(">I", 1) + wire.string(b"name") + wire.string(b"line") + struct.pack(">IQ", 1, 5)
    with pytest.raises((Garbled, struct.error)):
        wire.names(answer(Kind.NAME, whole[:cut]))


def test_data_that_promise_more_than_they_have() -> None:
    """Goal: a short block is no file's content. Method: a length beyond the answer."""
    with pytest.raises(Garbled):
        wire.data(answer(Kind.DATA, struct.pack(">I", 10) + b"short"))


def test_the_first_packet() -> None:
    """Goal: extensions are known. Method: OpenSSH's packet, and that of something else."""
    packet = b"\x02\x00\x00\x00\x03" + wire.string(wire.FSYNC) + wire.string(b"1")
    assert wire.version(packet) == {wire.FSYNC: b"1"}
    with pytest.raises(Garbled):
        wire.version(b"HTTP/1.1 400")


def test_limits_and_room() -> None:
    """Goal: block sizes and a full disk are known. Method: answers of the two extensions."""
    assert wire.limits(answer(Kind.EXTENDED_REPLY, struct.pack(">4Q", 1, 2, 3, 4))) == (2, 3)
    reply = struct.pack(">11Q", 1, 4096, 100, 50, 10, 0, 0, 0, 0, 0, 255)
    assert wire.room_bytes(answer(Kind.EXTENDED_REPLY, reply)) == 40960


@pytest.mark.parametrize("begin", [b"", wire.string(b"check-file")], ids=["ProFTPD", "draft"])
def test_a_hash_in_both_forms(begin: bytes) -> None:
    """Goal: a digest is read however a server puts it. Method: with the draft's name before it, and without."""
    digest = bytes(range(32))
    answer = Answer(Kind.EXTENDED_REPLY, memoryview(begin + wire.string(b"sha256") + digest))
    assert wire.hashed(answer) == digest.hex()


@pytest.mark.parametrize("body", [wire.string(b"md5") + bytes(16), wire.string(b"sha256") + bytes(31), b"\0\0\0\x09x"])
def test_another_hash_is_none(body: bytes) -> None:
    """Goal: what is no SHA-256 proves nothing. Method: another algorithm, another length, an answer that is cut off."""
    with pytest.raises(Garbled):
        wire.hashed(Answer(Kind.EXTENDED_REPLY, memoryview(body)))
