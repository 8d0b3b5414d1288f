"""Fixtures of the SFTP service's tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mft.auth.passwords import hash_password
from mft.model.services import ListenerSpec
from mft.services.host_keys import make_host_keys
from tests.integration.inbound.harness import PASSWORD, Inbound, Keys, running


@pytest.fixture(scope="session")
def keys() -> Keys:
    """Host keys, a password's hash and a client's key pair."""
    client = Ed25519PrivateKey.generate()
    return Keys(
        make_host_keys(),
        hash_password(PASSWORD),
        client.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        client.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    )


Serve = Callable[..., Awaitable[Inbound]]


@pytest.fixture
async def serve(tmp_path: Path, keys: Keys) -> AsyncIterator[Serve]:
    """Give a function that starts a service with these fields; listener fields by `listener={…}`."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(listener: dict[str, Any] | None = None, **fields: Any) -> Inbound:
            spec = ListenerSpec(port=1, host_keys=keys.host, **(listener or {}))
            return await stack.enter_async_context(running(Inbound(tmp_path, keys, spec, **fields)))

        yield start


@pytest.fixture
async def inbound(serve: Serve) -> Inbound:
    """A service with nothing special."""
    return await serve()


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """A test that leaves a descriptor open fails."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before + 2, os.listdir("/proc/self/fd")
