"""Metrics of Redis commands and connections."""

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection

from shop_api.observability.command_metrics import CommandMetrics

_PIPELINE = "PIPELINE"
"""Label for several commands sent together."""
_UNSENT = "SEND"
"""Label for a command that could not be sent."""


def timed(kind: type[AbstractConnection], calls: CommandMetrics) -> type[AbstractConnection]:
    """Return a subclass of `kind` that records each command in `calls`, timed from sending to reply.

    Measured below the client, since the rate limits use their own client.
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
                await super().send_packed_command(*args, **kwargs)  # may connect first, with commands of its own
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
    """Metrics of the connections of one client."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def collect(self) -> Iterator[Metric]:
        idle, used, maximum = _connections(self._client)
        yield GaugeMetricFamily("shop_redis_connections", "Open connections to Redis.", idle + used)
        yield GaugeMetricFamily("shop_redis_connections_in_use", "Connections to Redis in use.", used)
        yield GaugeMetricFamily("shop_redis_connections_max", "Maximum number of connections to Redis.", maximum)


def _connections(client: Redis | RedisCluster) -> tuple[int, int, int]:
    """Return the numbers of idle connections, of connections in use, and the maximum."""
    if not isinstance(client, RedisCluster):
        pool = client.connection_pool
        idle, used = (count for count, _ in pool.get_connection_count())
        return idle, used, pool.max_connections
    nodes = client.get_nodes()
    # Cluster nodes have no public count.
    idle, made = (sum(len(getattr(node, kept)) for node in nodes) for kept in ("_free", "_connections"))
    return idle, made - idle, sum(node.max_connections for node in nodes)
