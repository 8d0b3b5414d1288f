"""Liveness, readiness and metrics over HTTP, for load balancers, service managers, Prometheus and people with curl.

    /livez    200 while this process's loop turns
    /readyz   200 while the instance serves what its config wants of it; 503 with the reasons otherwise
    /metrics  what it counts and how it is, in Prometheus' text format

Losing etcd does not make an instance unready: inbound goes on from the snapshot. It is reported as degraded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import json

from mft.errors import Invalid

_REQUEST_S_MAX = 5.0
_REQUEST_BYTES_MAX = 8192


class Health:
    """A minimal HTTP/1.1 responder: three paths, GET and HEAD, one request for each connection."""

    def __init__(
        self,
        address: str,
        status: Callable[[], tuple[bool, Mapping[str, Any]]],
        metrics: Callable[[], Awaitable[tuple[str, bytes]]],
    ) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise Invalid(f"the health address {address!r} is not HOST:PORT")
        self._host, self._port = host.strip("[]"), int(port)
        self._status = status
        self._metrics = metrics
        """Gives the type of the page, and the page."""

    async def run(self) -> None:
        """Answer until cancelled.

        Raises:
            Invalid: the address is taken or not of this machine.
        """
        try:
            server = await asyncio.start_server(self._answer, self._host, self._port, limit=_REQUEST_BYTES_MAX)
        except OSError as error:
            raise Invalid(
                f"the health endpoint cannot listen on {self._host}:{self._port}: {error.strerror}"
            ) from error
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S_MAX):
                method, path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[:2]
                writer.write(await self._response(path.decode("ascii", "replace"), with_body=method != b"HEAD"))
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # Whoever sends no request gets no answer.
        finally:
            writer.close()

    async def _response(self, path: str, *, with_body: bool) -> bytes:
        ready, facts = self._status()
        kind = "application/json"
        match path:
            case "/livez":
                status, body = "200 OK", b'{"alive":true}'
            case "/readyz":
                status, body = "200 OK" if ready else "503 Service Unavailable", json.encode({"ready": ready, **facts})
            case "/metrics":
                status, (kind, body) = "200 OK", await self._metrics()
            case _:
                status, body = "404 Not Found", b'{"paths":["/livez","/readyz","/metrics"]}'
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (body if with_body else b"")
