"""A Redis Cluster: the client for all of it, and a connection to the node that one key lies on."""

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
    """The client for keys wherever they lie. `metrics` is told of each command, with the redirections it met."""

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
        # Which does nothing while it has yet to find out anew who belongs to the cluster.
        for nodes in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(nodes)


class ToOwner(Connection):
    """A connection to whichever node has `key`, which it asks `hosts` for whenever it connects.

    When the key has moved, a command fails (MOVED), and whoever uses this has to disconnect.
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
        """By the word of most: one that has been away may still believe that it is its own."""
        answers = await asyncio.gather(*(self._ask(*host) for host in self._hosts), return_exceptions=True)
        votes = Counter(answer for answer in answers if isinstance(answer, tuple))
        if not votes:
            raise exceptions.ConnectionError("no node of the cluster that answers knows who has the key")
        return votes.most_common(1)[0][0]

    async def _ask(self, host: str, port: int) -> tuple[str, int]:
        patience = self._options["socket_connect_timeout"] / 2
        options = {**self._options, "socket_timeout": patience, "socket_connect_timeout": patience}
        async with Redis(host=host, port=port, ssl=isinstance(self, SSLConnection), **options) as node:
            slots: Any = await node.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            for first, last, owner, *_ in slots:
                if first <= self._slot <= last:
                    return (owner[0] or host.encode()).decode(), owner[1]  # without a name: the one that was asked
        raise exceptions.ConnectionError("nobody has the slot")


class ToOwnerWithTls(ToOwner, SSLConnection):
    pass
