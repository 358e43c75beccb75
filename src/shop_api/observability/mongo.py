"""Metrics from the events of the MongoDB driver."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from pymongo import monitoring

from shop_api.observability.command_metrics import CommandMetrics
from shop_api.observability.histogram import Histogram


class Commands(monitoring.CommandListener):
    def __init__(self, calls: CommandMetrics) -> None:
        self._calls = calls
        self._collections: dict[int, str] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        named = event.command.get("collection", event.command.get(event.command_name))  # getMore has "collection"
        self._collections[event.request_id] = named if isinstance(named, str) else ""

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._ended(event, None)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        failure: Any = event.failure
        self._ended(event, str(failure.get("codeName") or failure.get("errtype") or "failed"))

    def _ended(self, event: Any, error: str | None) -> None:
        target = self._collections.pop(event.request_id, "")
        self._calls.ended(event.command_name, event.duration_micros / 1e6, error, target=target)


class Connections(monitoring.ConnectionPoolListener, Collector):
    """Metrics of the connections to all servers: their number, and the time operations wait for one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._in_use = 0
        self._refused: Counter[str] = Counter()
        self._waits = Histogram()

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        with self._lock:
            self._open += 1

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        with self._lock:
            self._open -= 1

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        with self._lock:
            self._in_use += 1
            self._waits.add(event.duration or 0.0)

    def connection_check_out_failed(self, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        with self._lock:
            self._refused[event.reason] += 1

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        with self._lock:
            self._in_use -= 1

    def connection_check_out_started(self, event: monitoring.ConnectionCheckOutStartedEvent) -> None: ...
    def connection_ready(self, event: monitoring.ConnectionReadyEvent) -> None: ...
    def pool_created(self, event: monitoring.PoolCreatedEvent) -> None: ...
    def pool_ready(self, event: monitoring.PoolReadyEvent) -> None: ...
    def pool_cleared(self, event: monitoring.PoolClearedEvent) -> None: ...
    def pool_closed(self, event: monitoring.PoolClosedEvent) -> None: ...

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            yield GaugeMetricFamily("shop_mongodb_connections", "Open connections to MongoDB.", self._open)
            yield GaugeMetricFamily("shop_mongodb_connections_in_use", "Connections to MongoDB in use.", self._in_use)
            waits = HistogramMetricFamily(
                "shop_mongodb_connection_wait_seconds", "Time operations waited for a connection.", labels=[]
            )
            self._waits.export_to(waits, [])
            refused = CounterMetricFamily(
                "shop_mongodb_connection_failures", "Operations that got no connection.", labels=["reason"]
            )
            for reason in ("timeout", "connectionError", "poolClosed"):
                refused.add_metric([reason], self._refused[reason])
        yield waits
        yield refused
