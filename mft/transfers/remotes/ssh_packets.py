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
from collections.abc import Callable
from typing import Any, cast

import asyncssh
from asyncssh.crypto.cipher import GCMCipher
from asyncssh.encryption import GCMEncryption
from asyncssh.packet import SSHPacket
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_CHANNEL_DATA = 94
_LENGTH_BYTES, _MAC_BYTES = 4, 16
_BLOCK_BYTES = 16
_PADDING_BYTES_MIN = 4


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
            self.cipher, self.aead = cipher, AESGCM(cipher._key)
        return True


class DataPackets:
    """Stands before the connection's `send_packet` and `data_received`."""

    def __init__(self, connection: asyncssh.SSHClientConnection, given: Callable[[bytes], None]) -> None:
        """`given` gives bytes that have come to the library."""
        self._connection: Any = connection
        self._usual = connection.send_packet
        self._given = given
        self._sending, self._receiving = _Keys(), _Keys()
        self._in = b""
        self.received_bytes = 0
        """Of packets of content that were taken here."""

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send one packet."""
        if pkttype != _CHANNEL_DATA or not self._may_send():
            self._usual(pkttype, *args, handler=handler)
        else:
            self._send(*args)

    def write(self, channel: Any, data: bytes) -> bool:
        """Send content on a channel; False if the library has to, because it must wait for the partner first."""
        if (
            not all(hasattr(channel, name) for name in _KNOWN_OF_CHANNEL)
            or channel._send_state != "open"
            or channel._send_buf
            or channel._send_window < len(data)
            or channel._send_pktsize <= 0
        ):
            return False
        number, view = channel._send_chan.to_bytes(4, "big"), memoryview(data)
        for start in range(0, len(data), channel._send_pktsize):
            if not self._may_send():
                channel.write(data[start:])
                break
            part = view[start : start + channel._send_pktsize]
            channel._send_window -= len(part)
            self._send(number, len(part).to_bytes(4, "big"), part)
        return True

    def _send(self, *parts: bytes | memoryview) -> None:
        """Send one packet of content: the channel's number, and the content with its length before it."""
        connection, cipher, aead = self._connection, self._sending.cipher, self._sending.aead
        assert aead is not None
        size_bytes = 2 + sum(map(len, parts))
        padding_bytes = _PADDING_BYTES_MIN + -(size_bytes + _PADDING_BYTES_MIN) % _BLOCK_BYTES
        packet = b"".join((bytes((padding_bytes, _CHANNEL_DATA)), *parts, os.urandom(padding_bytes)))
        length = len(packet).to_bytes(_LENGTH_BYTES, "big")
        encrypted = aead.encrypt(cipher._iv, packet, length)
        cipher._update_iv()
        connection._send(length)
        connection._send(encrypted)
        connection._send_seq = (connection._send_seq + 1) & 0xFFFFFFFF
        connection._rekey_bytes_sent += len(packet)

    def data_received(self, data: bytes) -> None:
        """Take what came: whole packets of content here, all else is the library's."""
        if self._in:
            data, self._in = self._in + data, b""
        at, end, view = 0, len(data), memoryview(data)
        self._connection._reset_keepalive_timer()
        while at < end:
            if not self._may_receive():
                # No more than makes its packet whole, so that the next one can be taken here.
                after = min(end, at + self._owed()) if self._owed() > 0 else end
                self._given(data[at:after])
                at = after
                continue
            size = int.from_bytes(view[at : at + _LENGTH_BYTES], "big")
            after = at + _LENGTH_BYTES + size + _MAC_BYTES
            if end - at < _LENGTH_BYTES or (after > end and size <= self._connection._max_recv_pktlen):
                self._in = data[at:]
                return
            if after > end or not self._deliver(view[at:after]):
                self._given(data[at:after])
            at = after

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

    def _deliver(self, packet: memoryview) -> bool:
        """Give a packet's content to its channel; False if it is for the library, which then sees it as it came."""
        connection, cipher, aead = self._connection, self._receiving.cipher, self._receiving.aead
        assert aead is not None
        try:
            plain = aead.decrypt(cipher._iv, packet[_LENGTH_BYTES:], packet[:_LENGTH_BYTES])
        except InvalidTag:
            return False
        if len(plain) < 7 or plain[1] != _CHANNEL_DATA:
            return False
        channel = connection._channels.get(int.from_bytes(plain[2:6], "big"))
        if channel is None:
            return False
        cipher._update_iv()
        self.received_bytes += len(plain)
        number = connection._recv_seq
        connection._recv_seq = (number + 1) & 0xFFFFFFFF
        try:
            # As a view: the library would copy it twice more.
            content = memoryview(plain)[6 : -plain[0]]
            channel.process_packet(_CHANNEL_DATA, number, SSHPacket(cast(bytes, content)))
        except asyncssh.DisconnectError as error:
            connection._send_disconnect(error.code, error.reason, error.lang)
            connection._force_close(error)
        except Exception:
            connection.internal_error()  # As the library does with what it did not expect.
        return True


_KNOWN = (
    *("_auth_complete", "_channels", "_compressor", "_decompressor", "_force_close", "_inpbuf", "_kex_complete"),
    *("_max_recv_pktlen", "_pktlen", "_recv_blocksize", "_recv_encryption", "_recv_handler", "_recv_macsize"),
    *("_recv_packet", "_recv_pkthdr", "_recv_seq", "_rekey_bytes"),
    *("_rekey_bytes_sent", "_rekey_seconds", "_rekey_time", "_reset_keepalive_timer", "_send", "_send_disconnect"),
    *("_send_encryption", "_send_seq", "internal_error"),
)


_KNOWN_OF_CHANNEL = ("_send_buf", "_send_chan", "_send_pktsize", "_send_state", "_send_window")


def write(channel: asyncssh.SSHClientChannel[bytes], data: bytes) -> None:
    """Send content on a channel of a connection, whether that was hastened or not. Raises OSError if it is closed."""
    packets = getattr(getattr(channel, "_conn", None), "packets", None)
    if packets is None or not packets.write(channel, data):
        channel.write(data)


def hasten(connection: asyncssh.SSHClientConnection, given: Callable[[bytes], None]) -> DataPackets | None:
    """Have data packets of this connection sent so; returns what receives, instead of `given`.

    None if the library is not as it is known here.
    """
    if not all(hasattr(connection, name) for name in _KNOWN):
        return None
    packets = DataPackets(connection, given)
    connection.send_packet = packets.send_packet  # type: ignore[method-assign]
    connection.packets = packets  # type: ignore[attr-defined]  # For `write`, which has a channel.
    return packets
