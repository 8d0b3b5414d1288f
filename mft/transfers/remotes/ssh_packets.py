"""Data packets of an SSH connection, with less ado than the library makes. Source: RFC 4253 section 6, RFC 5647.

The library sends an empty packet before each, which protects ciphers in CBC mode and no others, sets up the cipher anew
for each, and copies each some eight times on its way. Of a large file that is half of what it costs here, and a part of
what it costs the partner. So packets of content, under AES-GCM, take this way; all others, and every packet while keys
are exchanged, take the library's, and both keep the same counters. What is wrong with a packet is found by the library:
it is given what cannot be decrypted here. Where the library is not as it is known here, all go its way.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import asyncssh
from asyncssh.crypto.cipher import GCMCipher
from asyncssh.encryption import GCMEncryption
from asyncssh.packet import PacketDecodeError, SSHPacket
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mft.transfers.remotes.base import Content
from mft.transfers.remotes.gathering import JOINED_BYTES_MAX, RECEIVED_BYTES_MAX

_WINDOW_ADJUST, _CHANNEL_DATA = 93, 94
_LENGTH_BYTES, _MAC_BYTES = 4, 16
_AROUND_BYTES = _LENGTH_BYTES + _MAC_BYTES
_BLOCK_BYTES = 16
_PADDING_BYTES_MIN, _PADDING_BYTES_MAX = 4, 4 + _BLOCK_BYTES - 1
_RANDOM_BYTES = 1024
_PACKETS_MAX, _OUT_BYTES = 8, 288 * 1024
"""Packets that leave as one, and memory for so many that are full, as OpenSSH takes them: about a piece of content."""
_REUSED_BYTES_MIN = _OUT_BYTES // 2
assert _REUSED_BYTES_MIN > JOINED_BYTES_MAX, "what waits until the turn ends would be written over"
_LIFE_NOTED_S = 0.5
"""To set a timer anew for each piece that comes would cost a part of what the piece does."""
_PACKET_BYTES_MAX = RECEIVED_BYTES_MAX - _AROUND_BYTES

_KNOWN = (
    *("_auth_complete", "_channels", "_compressor", "_decompressor", "_force_close", "_inpbuf", "_kex_complete"),
    *("_max_recv_pktlen", "_pktlen", "_recv_blocksize", "_recv_encryption", "_recv_handler", "_recv_macsize"),
    *("_recv_packet", "_recv_pkthdr", "_recv_seq", "_rekey_bytes"),
    *("_rekey_bytes_sent", "_rekey_seconds", "_rekey_time", "_reset_keepalive_timer", "_send", "_send_disconnect"),
    *("_send_encryption", "_send_seq", "_transport", "internal_error"),
)
_KNOWN_OF_CHANNEL = (
    *("_send_buf", "_send_chan", "_send_pktsize", "_send_state", "_send_window"),
    *("_encoding", "_init_recv_window", "_recv_paused", "_recv_state", "_recv_window", "_session"),
)
_KNOWN_OF_CIPHER = ("_iv", "_key", "_update_iv")
"""Names of the library's that are used here: without one of them nothing is hastened."""


class _Keys:
    """The cipher of one direction, set up once for as long as the keys stay the same."""

    def __init__(self) -> None:
        self.cipher: Any = None
        """The library's, which keeps the counter that makes each packet's nonce."""
        self.aead: AESGCM | None = None

    def follow(self, encryption: object) -> bool:
        """Use these keys; False if they are for another kind of cipher."""
        cipher = getattr(encryption, "_cipher", None)
        if cipher is None or cipher is not self.cipher:
            if not isinstance(encryption, GCMEncryption) or not isinstance(cipher, GCMCipher):
                return False
            if not all(hasattr(cipher, name) for name in _KNOWN_OF_CIPHER):
                return False
            self.cipher, self.aead = cipher, AESGCM(cipher._key)
        return True


class DataPackets:
    """Stands before the connection's `send_packet` and what receives."""

    def __init__(self, connection: asyncssh.SSHClientConnection, given: Callable[[bytes], None]) -> None:
        """`given` gives bytes that have come to the library."""
        self._connection: Any = connection
        self._usual = connection.send_packet
        self._given = given
        self._sending, self._receiving = _Keys(), _Keys()
        self._waiting: dict[Any, deque[memoryview]] = {}
        """Channel → content that waits until the partner takes more."""
        self._life_noted_at = 0.0
        self._random = b""
        self._out: memoryview | None = None
        self._kinds: dict[type, bool] = {}
        self.received_bytes = 0
        """Of packets of content that were taken here."""

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send one packet for the library."""
        if pkttype != _CHANNEL_DATA or not self._may_send():
            self._usual(pkttype, *args, handler=handler)
        else:
            self._send([args])

    def write(self, channel: Any, parts: Sequence[Content]) -> None:
        """Send content on a channel. Raises OSError if that is closed."""
        waiting = self._waiting.setdefault(channel, deque())
        waiting.extend(memoryview(part) for part in parts if part)
        self._send_waiting(channel, waiting)

    def knows(self, channel: Any) -> bool:
        """Say whether channels of its kind are as they are known here."""
        kind = type(channel)
        if (known := self._kinds.get(kind)) is None:
            known = self._kinds[kind] = all(hasattr(channel, name) for name in _KNOWN_OF_CHANNEL)
        return known

    def _send_waiting(self, channel: Any, waiting: deque[memoryview]) -> None:
        """Send as much as the partner takes now; while keys are exchanged, have the library do it."""
        if channel._send_state != "open":
            self.forget(channel)
            raise BrokenPipeError("the channel is closed")
        if not channel._send_buf:  # What the library has was written first.
            if self._may_send() and channel._send_pktsize > 0:
                self._send_content(channel, waiting)
            if waiting and not self._may_send():
                channel.write(b"".join(waiting))
                waiting.clear()
        if not waiting:
            self.forget(channel)

    def forget(self, channel: Any) -> None:
        """Keep nothing more for this channel."""
        self._waiting.pop(channel, None)

    def _send_content(self, channel: Any, waiting: deque[memoryview]) -> None:
        """Send packets of content: each the channel's number, and the content with its length before it."""
        connection, number = self._connection, channel._send_chan.to_bytes(4, "big")
        room_bytes = min(channel._send_window, connection._rekey_bytes - connection._rekey_bytes_sent)
        packets: list[Sequence[Content]] = []
        while waiting and room_bytes > 0:
            content, size_bytes = _cut(waiting, min(room_bytes, channel._send_pktsize))
            channel._send_window -= size_bytes
            room_bytes -= size_bytes
            packets.append((number, size_bytes.to_bytes(4, "big"), *content))
            if len(packets) == _PACKETS_MAX:
                self._send(packets)
                packets = []
        if packets:
            self._send(packets)

    def _send(self, packets: Sequence[Sequence[Content]]) -> None:
        """Send these packets of content, given as what comes after their type, as one piece."""
        connection, cipher, aead = self._connection, self._sending.cipher, self._sending.aead
        assert aead is not None
        sizes_bytes = [2 + sum(map(len, packet)) for packet in packets]
        most_bytes = sum(sizes_bytes) + len(packets) * (_AROUND_BYTES + _PADDING_BYTES_MAX)
        out, at = self._memory(most_bytes), 0
        for packet, size_bytes in zip(packets, sizes_bytes, strict=True):
            padding_bytes = _PADDING_BYTES_MIN + -(size_bytes + _PADDING_BYTES_MIN) % _BLOCK_BYTES
            plain = b"".join((bytes((padding_bytes, _CHANNEL_DATA)), *packet, self._noise(padding_bytes)))
            length = out[at : at + _LENGTH_BYTES]
            length[:] = len(plain).to_bytes(_LENGTH_BYTES, "big")
            end = at + _AROUND_BYTES + len(plain)
            aead.encrypt_into(cipher._iv, plain, length, out[at + _LENGTH_BYTES : end])
            cipher._update_iv()
            connection._rekey_bytes_sent += len(plain)
            at = end
        connection._send_seq = (connection._send_seq + len(packets)) & 0xFFFFFFFF
        connection._send(out[:at])
        if len(out) == _OUT_BYTES and connection._transport and not connection._transport.get_write_buffer_size():
            self._out = out

    def _memory(self, size_bytes: int) -> memoryview:
        """Give memory for what leaves: as long as the system takes it at once, the same, so that it is near."""
        if not _REUSED_BYTES_MIN < size_bytes <= _OUT_BYTES:
            return memoryview(bytearray(size_bytes))
        out, self._out = self._out, None
        return memoryview(bytearray(_OUT_BYTES)) if out is None else out

    def _noise(self, size_bytes: int) -> bytes:
        """Give random bytes for padding; asked for rarely, because each time others may take the interpreter."""
        if len(self._random) < size_bytes:
            self._random = os.urandom(_RANDOM_BYTES)
        noise, self._random = self._random[:size_bytes], self._random[size_bytes:]
        return noise

    def data_received(self, view: memoryview) -> int:
        """Take what came: whole packets of content here, all else is the library's. Returns how many bytes were taken.

        What is left is the beginning of a packet, and is given again with what comes then.
        """
        at, end, may_send_more = 0, len(view), False
        self._note_life()
        while at < end:
            if self._connection._transport is None:
                return end  # It has been given up, at the first packet that was wrong.
            if not self._may_receive():
                # No more than makes its packet whole, so that the next one can be taken here.
                owed = self._owed()
                after = min(end, at + owed) if owed else end
            else:
                size_bytes = int.from_bytes(view[at : at + _LENGTH_BYTES], "big")
                after = at + _AROUND_BYTES + size_bytes
                if end - at < _LENGTH_BYTES or (after > end and size_bytes <= self._packet_bytes_max):
                    break
                if after <= end and (kind := self._deliver(view[at:after])):
                    at, may_send_more = after, may_send_more or kind == _WINDOW_ADJUST
                    continue
                after = min(after, end)
            self._given(bytes(view[at:after]))
            at, may_send_more = after, True
        if may_send_more:
            for channel, waiting in [*self._waiting.items()]:  # The partner may take more now.
                with suppress(OSError):
                    self._send_waiting(channel, waiting)
        return at

    def _note_life(self) -> None:
        """Have the library know, now and then, that the partner still sends."""
        now = time.monotonic()
        if now >= self._life_noted_at + _LIFE_NOTED_S:
            self._life_noted_at = now
            self._connection._reset_keepalive_timer()

    @property
    def _packet_bytes_max(self) -> int:
        """Larger packets are not waited for here."""
        return min(int(self._connection._max_recv_pktlen), _PACKET_BYTES_MAX)

    def _owed(self) -> int:
        """Say how many bytes the library waits for, to know a packet's length or to have it whole; 0: not known."""
        connection = self._connection
        missing = -len(connection._inpbuf)
        if connection._recv_handler == connection._recv_pkthdr:
            missing += connection._recv_blocksize
        elif connection._recv_handler == connection._recv_packet:
            missing += _LENGTH_BYTES + connection._pktlen + connection._recv_macsize - connection._recv_blocksize
        return max(0, missing)

    def _may_send(self) -> bool:
        """Say whether nothing is to be done for a packet but to encrypt it with the keys that are in use."""
        connection = self._connection
        return (
            connection._auth_complete
            and connection._kex_complete
            and not connection._compressor
            and connection._rekey_bytes_sent < connection._rekey_bytes
            and not (connection._rekey_seconds and time.monotonic() >= connection._rekey_time)
            and self._sending.follow(connection._send_encryption)
        )

    def _may_receive(self) -> bool:
        """Say whether the library waits for the beginning of a packet, and would only have to decrypt it."""
        connection = self._connection
        return (
            connection._auth_complete
            and not connection._inpbuf
            and connection._recv_handler == connection._recv_pkthdr
            and not connection._decompressor
            and self._receiving.follow(connection._recv_encryption)
        )

    def _deliver(self, packet: memoryview) -> int:
        """Give a packet to its channel; returns its type, or 0 if it is for the library, which sees it as it came."""
        connection, cipher, aead = self._connection, self._receiving.cipher, self._receiving.aead
        assert aead is not None
        try:
            plain = aead.decrypt(cipher._iv, packet[_LENGTH_BYTES:], packet[:_LENGTH_BYTES])
        except InvalidTag:
            return 0
        if len(plain) < 7 or (kind := plain[1]) not in (_CHANNEL_DATA, _WINDOW_ADJUST):
            return 0
        channel = connection._channels.get(int.from_bytes(plain[2:6], "big"))
        if channel is None:
            return 0
        cipher._update_iv()
        self.received_bytes += len(plain)
        number = connection._recv_seq
        connection._recv_seq = (number + 1) & 0xFFFFFFFF
        try:
            # As a view: the library would copy it twice more.
            view = memoryview(plain)[6 : -plain[0]]
            take = _take_room if kind == _WINDOW_ADJUST else _give
            if not self.knows(channel) or not take(channel, view):
                channel.process_packet(kind, number, SSHPacket(cast(bytes, view)))
        except (asyncssh.DisconnectError, PacketDecodeError) as error:
            wrong = error if isinstance(error, asyncssh.DisconnectError) else asyncssh.ProtocolError(str(error))
            connection._send_disconnect(wrong.code, wrong.reason, wrong.lang)
            connection._force_close(wrong)
        except Exception:
            connection.internal_error()  # As the library does with what it did not expect.
        return kind


def _take_room(channel: Any, view: memoryview) -> bool:
    """Note that the partner takes more on this channel, if the library has nothing that waits for that."""
    if len(view) != 4 or channel._send_buf or channel._recv_state != "open":
        return False
    channel._send_window += int.from_bytes(view, "big")
    return True


def _give(channel: Any, view: memoryview) -> bool:
    """Give content, with its length before it, to the channel's session, if that is all there is to do with it."""
    size_bytes = len(view) - 4
    left_bytes = channel._recv_window - size_bytes
    if (
        int.from_bytes(view[:4], "big") != size_bytes
        or left_bytes < channel._init_recv_window / 2  # The partner is due to hear that it may send more.
        or channel._recv_state != "open"
        or channel._send_state != "open"
        or channel._recv_paused
        or channel._encoding
        or channel._session is None
        or not size_bytes
    ):
        return False
    channel._recv_window = left_bytes
    channel._session.data_received(view[4:], None)
    return True


def _cut(waiting: deque[memoryview], size_bytes: int) -> tuple[list[memoryview], int]:
    """Take up to so many bytes away from what waits. Returns them and how many they are."""
    parts, left_bytes = [], size_bytes
    while waiting and left_bytes:
        part = waiting.popleft()
        if len(part) > left_bytes:
            waiting.appendleft(part[left_bytes:])
            part = part[:left_bytes]
        parts.append(part)
        left_bytes -= len(part)
    return parts, size_bytes - left_bytes


def forget(channel: asyncssh.SSHClientChannel[bytes]) -> None:
    """Drop what waits for room on this channel, which is given up."""
    packets = getattr(getattr(channel, "_conn", None), "packets", None)
    if packets is not None:
        packets.forget(channel)


def write(channel: asyncssh.SSHClientChannel[bytes], parts: Sequence[Content]) -> None:
    """Send content on a channel of a connection, whether that was hastened or not. Raises OSError if it is closed."""
    packets = getattr(getattr(channel, "_conn", None), "packets", None)
    if packets is None or not packets.knows(channel):
        channel.write(b"".join(parts))
    else:
        packets.write(channel, parts)


def hasten(connection: asyncssh.SSHClientConnection, given: Callable[[bytes], None]) -> DataPackets | None:
    """Have data packets of this connection sent so; returns what receives, instead of `given`.

    None if the library is not as it is known here.
    """
    if not all(hasattr(connection, name) for name in _KNOWN) or not hasattr(AESGCM, "encrypt_into"):
        return None
    packets = DataPackets(connection, given)
    connection.send_packet = packets.send_packet  # type: ignore[method-assign]
    connection.packets = packets  # type: ignore[attr-defined]  # For `write`, which has a channel.
    return packets
