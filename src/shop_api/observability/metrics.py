"""The Prometheus metrics of one instance.

The code counts in plain numbers, which are converted to metrics only on a scrape. Each app has its own registry.
Metrics of one subsystem are in the module of that name.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shop_api import __version__
from shop_api.observability.command_metrics import CommandMetrics
from shop_api.observability.event_loop import EventLoopLag
from shop_api.observability.mongo import Commands, Connections
from shop_api.observability.requests import Requests

__all__ = ["CONTENT_TYPE", "Metrics"]


class Metrics:
    def __init__(self) -> None:
        self.requests = Requests()
        self.event_loop = EventLoopLag()
        self.mongo = CommandMetrics("mongodb")
        self.redis = CommandMetrics("redis")
        self.health = Health()
        connections = Connections()
        self.mongo_listeners = (Commands(self.mongo), connections)
        """Event listeners for the MongoDB client."""
        self._registry = CollectorRegistry()
        own = (self.requests, self.event_loop, self.health, self.mongo, connections)
        for collector in (*own, self.redis, _Build()):
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    @contextmanager
    def with_figures_of(self, *collectors: Collector) -> Iterator[None]:
        """Also export the metrics of `collectors` during the block."""
        for collector in collectors:
            self._registry.register(collector)
        try:
            yield
        finally:
            for collector in collectors:
                self._registry.unregister(collector)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format, with media type CONTENT_TYPE."""
        return generate_latest(self._registry)


class Health(Collector):
    """The state of the instance at the last scrape."""

    def __init__(self) -> None:
        self.engines: dict[str, bool] = {}
        self.primary_known = False
        self.ready = False
        self.draining = False

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("shop_ready", "1 if requests can be served.", float(self.ready))
        yield GaugeMetricFamily("shop_draining", "1 while this instance is stopping.", float(self.draining))
        engines = GaugeMetricFamily("shop_engine_up", "1 if the engine responds.", labels=["engine"])
        for engine, up in self.engines.items():
            engines.add_metric([engine], float(up))
        yield engines
        yield GaugeMetricFamily(
            "shop_mongodb_primary_known", "1 while the driver knows a writable server.", float(self.primary_known)
        )


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("shop_build_info", "Version information; always 1.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
