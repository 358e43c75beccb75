"""How long Redis takes, and how many connections there are to it."""

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection

from shop_api.observability.command_metrics import CommandMetrics

_PIPELINE = "PIPELINE"
"""Several commands sent together."""
_UNSENT = "SEND"
"""A command that could not be sent."""


def timed(kind: type[AbstractConnection], calls: CommandMetrics) -> type[AbstractConnection]:
    """A kind of connection that is as `kind`, and tells `calls` of each command from its sending to its reply.

    Below the client, since the rate limits bring a client of their own.
    """

    class Timed(kind):  # type: ignore[misc, valid-type]
        command = _PIPELINE
        sent: float | None = None

        async def send_command(self, *args: Any, **kwargs: Any) -> None:
            await super().send_command(*args, **kwargs)
            self.command = str(args[0]).upper()

        async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
            started = time.perf_counter()
            try:
                await super().send_packed_command(
                    *args, **kwargs
                )  # which may have to connect, with commands of its own
            except BaseException as failure:
                calls.ended(_UNSENT, time.perf_counter() - started, type(failure).__name__)
                raise
            self.command, self.sent = _PIPELINE, started

        async def read_response(self, *args: Any, **kwargs: Any) -> Any:
            error: str | None = None
            try:
                return await super().read_response(*args, **kwargs)
            except BaseException as failure:
                error = type(failure).__name__
                raise
            finally:
                if self.sent is not None:
                    calls.ended(self.command, time.perf_counter() - self.sent, error)
                self.sent = None

    return Timed


class RedisConnections(Collector):
    """The connections of one client."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def collect(self) -> Iterator[Metric]:
        idle, used, most = _connections(self._client)
        yield GaugeMetricFamily("shop_redis_connections", "Open connections to Redis.", idle + used)
        yield GaugeMetricFamily("shop_redis_connections_in_use", "Of these in use.", used)
        yield GaugeMetricFamily("shop_redis_connections_max", "What may be opened.", most)


def _connections(client: Redis | RedisCluster) -> tuple[int, int, int]:
    """How many are idle, how many in use, and how many there may be."""
    if not isinstance(client, RedisCluster):
        pool = client.connection_pool
        idle, used = (count for count, _ in pool.get_connection_count())
        return idle, used, pool.max_connections
    nodes = client.get_nodes()
    # A node of a cluster does not tell.
    idle, made = (sum(len(getattr(node, kept)) for node in nodes) for kept in ("_free", "_connections"))
    return idle, made - idle, sum(node.max_connections for node in nodes)
