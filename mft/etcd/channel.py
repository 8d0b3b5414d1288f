"""One gRPC channel to one etcd endpoint: its options, its TLS, and waiting for a connection before anything is sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from mft.aio import cancellations, give_way
from mft.errors import Invalid, Problem
from mft.etcd.wire import STATUS

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024

CHANNEL_OPTIONS: Final = (
    # A hung server or a cut wire is noticed in 15 s. The ping's own timeout is a separate option whose default of 60 s
    # overrules keepalive_timeout_ms. Never ping more often than every 5 s: etcd ends such connections.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Each channel its own connection, so that a rotation really goes elsewhere and a failure is not shared.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Despite its name this is how long one attempt to connect may take; the default is 20 s.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsOptions:
    """How to prove each other's identity: PEM files, read when the client is opened.

    With a certificate, etcd takes its common name as the user (`--client-cert-auth`): no password, no token.
    """

    ca: Path
    """Certificates of the authorities that may have signed the servers'."""
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    """The name in the servers' certificates, where it is not the endpoints' own."""

    async def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises `Invalid`, naming each that cannot be read."""
        if (self.certificate is None) != (self.key is None):
            raise Invalid("TLS to etcd: a client certificate and its key go together; give both or neither")
        return await asyncio.to_thread(self._read)

    def _read(self) -> grpc.ChannelCredentials:
        content: dict[str, bytes | None] = {}
        problems: list[Problem] = []
        for role, path in (("ca", self.ca), ("certificate", self.certificate), ("key", self.key)):
            try:
                content[role] = path.read_bytes() if path else None
            except OSError as error:
                problems.append(Problem(f"tls.{role}", f"{path} cannot be read: {error.strerror}"))
        if problems:
            raise Invalid("TLS to etcd: " + "; ".join(map(str, problems)), tuple(problems))
        return grpc.ssl_channel_credentials(content["ca"], content["key"], content["certificate"])


def parse_endpoint(text: str, *, tls: bool) -> str:
    """Turn `host:port` or a URL, as etcd's own tools take it, into the channel's target. Raises `Invalid`."""
    scheme, mark, rest = text.strip().rpartition("://")
    address = rest.rstrip("/")
    if mark and scheme not in {"http", "https"}:
        raise Invalid(f"etcd endpoint {text!r}: write host:port, http://host:port or https://host:port")
    if mark and (scheme == "https") != tls:
        needed = "needs TLS options (a CA file)" if scheme == "https" else "is without TLS, but TLS options are given"
        raise Invalid(f"etcd endpoint {text!r} {needed}")
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise Invalid(f"etcd endpoint {text!r}: a host and a port are needed, as in 10.0.0.5:2379")
    return address


def open_channel(target: str, credentials: grpc.ChannelCredentials | None, server_name: str | None) -> grpc.aio.Channel:
    """Make the channel; it connects at first use. The caller closes it."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
    own_name = (("grpc.ssl_target_name_override", server_name),) if server_name else ()
    return grpc.aio.secure_channel(target, credentials, options=(*CHANNEL_OPTIONS, *own_name))


async def connected(channel: grpc.aio.Channel, limit_s: float) -> bool:
    """Connect if need be and say whether there is a connection; false as soon as an attempt failed.

    Asking first, instead of letting the call wait, is what makes "this write was never sent" provable.
    """
    state = channel.get_state(try_to_connect=True)
    try:
        async with asyncio.timeout(limit_s):
            while state is not grpc.ChannelConnectivity.READY:
                if state in {grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN}:
                    return False
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError:
        return False
    return True


async def why_not_connected(channel: grpc.aio.Channel, limit_s: float) -> str:
    """Say why there is no connection: a channel's state does not, only a call that fails for it does."""
    probe = channel.unary_unary(STATUS.path, STATUS.request.SerializeToString, STATUS.answer.FromString)
    since = cancellations()
    try:
        await probe(STATUS.request(), timeout=limit_s)
    except grpc.aio.AioRpcError as error:
        give_way(since)
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return "no answer"
        details: str = error.details() or error.code().name
        return details.rpartition("last error: ")[2]
    return "it came up just now"
