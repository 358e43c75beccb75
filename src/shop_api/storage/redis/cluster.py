"""Redis Cluster: a client for all keys, and a connection to the node that owns one key."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, SSLConnection
from redis.crc import key_slot

from shop_api.observability.command_metrics import CommandMetrics

Hosts = Sequence[tuple[str, int]]


class Cluster(RedisCluster):
    """A cluster client. `metrics` records each command, including the time of its redirections."""

    def __init__(self, hosts: Hosts, metrics: CommandMetrics | None, **options: Any) -> None:
        super().__init__(startup_nodes=[ClusterNode(host, port) for host, port in hosts], **options)
        self._metrics = metrics

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        started, error = time.perf_counter(), None
        try:
            return await super().execute_command(*args, **kwargs)
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            if self._metrics is not None:
                self._metrics.ended(str(args[0]).upper(), time.perf_counter() - started, error)

    async def aclose(self) -> None:
        await super().aclose()
        # The parent closes nothing while the client is due to discover the nodes again.
        for nodes in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(nodes)


class ToOwner(Connection):
    """A connection to the node that owns `key`, discovered through `hosts` on each connect.

    After the key has moved, commands fail with MOVED and the caller must disconnect.
    """

    def __init__(self, *, hosts: Hosts, key: str, **options: Any) -> None:
        super().__init__(**options)
        self._hosts = hosts
        self._slot = key_slot(key.encode())
        self._options = options

    async def connect(self) -> None:
        if not self.is_connected:
            self.host, self.port = await self._owner()
        await super().connect()  # type: ignore[no-untyped-call]

    async def _owner(self) -> tuple[str, int]:
        """Return the owner that most nodes report: a node that was partitioned may still believe it owns the slot."""
        answers = await asyncio.gather(*(self._ask(*host) for host in self._hosts), return_exceptions=True)
        votes = Counter(answer for answer in answers if isinstance(answer, tuple))
        if not votes:
            raise exceptions.ConnectionError("no responding node of the cluster knows the owner of the key")
        return votes.most_common(1)[0][0]

    async def _ask(self, host: str, port: int) -> tuple[str, int]:
        patience = self._options["socket_connect_timeout"] / 2
        options = {**self._options, "socket_timeout": patience, "socket_connect_timeout": patience}
        async with Redis(host=host, port=port, ssl=isinstance(self, SSLConnection), **options) as node:
            slots: Any = await node.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            for first, last, owner, *_ in slots:
                if first <= self._slot <= last:
                    return (owner[0] or host.encode()).decode(), owner[1]  # an empty name means the queried node
        raise exceptions.ConnectionError("no node owns the slot")


class ToOwnerWithTls(ToOwner, SSLConnection):
    pass
