"""What users of etcd open: one client per process, an async context manager that owns its connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from mft.errors import Invalid
from mft.etcd.beside import beside
from mft.etcd.channel import TlsOptions
from mft.etcd.endpoints import CallTimes, Credentials, Endpoints
from mft.etcd.kv import Kv
from mft.etcd.lease import Leases
from mft.etcd.servers import Servers
from mft.etcd.watch import Watch
from mft.etcd.watch_stream import WatchTimes


class EtcdClient:
    """A client of one etcd cluster.

        async with EtcdClient(["127.0.0.1:2379"]) as etcd:
            await etcd.kv.put("greeting", b"hello")

    Opening it connects to nothing yet: an etcd that is away is an `Unavailable` of the first call. Members are asked in
    the order given, the next one when one fails.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TlsOptions | None = None,
        user: str | None = None,
        password: str | None = None,
        times: CallTimes | None = None,
    ) -> None:
        if (user is None) != (password is None):
            raise Invalid("etcd: a user and a password go together; give both or neither")
        credentials = Credentials(user, password) if user is not None and password is not None else None
        self.endpoints = Endpoints(endpoints, tls=tls, credentials=credentials, times=times or CallTimes())
        self.kv = Kv(self.endpoints)
        self.leases = Leases(self.endpoints)
        self.servers = Servers(self.endpoints)

    async def __aenter__(self) -> Self:
        await self.endpoints.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.endpoints.__aexit__(*error)

    @asynccontextmanager
    async def watch(
        self, key: str, *, prefix: bool = True, floor_revision: int = 0, times: WatchTimes | None = None
    ) -> AsyncIterator[Watch]:
        """Keep a prefix (or one key) as it is in etcd, for as long as the block runs.

            async with etcd.watch("/app/config/") as watch:
                async for view in watch.follow(every_s=60):
                    reconcile(view.items)

        `floor_revision`: the highest revision that the caller ever saw, if it kept it: an etcd that is below was
        restored from a backup, and `view.regressions` says so. The block ends with `Denied` if the right to read is
        missing; an outage is waited for.
        """
        watch = Watch(self.endpoints, self.kv, key, prefix=prefix, floor_revision=floor_revision, times=times)
        async with beside(watch.run(), name=f"watch:{key}"):
            yield watch
