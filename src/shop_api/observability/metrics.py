"""All that one instance tells Prometheus.

Plain numbers are counted where things happen, and made into metrics only when somebody asks. Each app has a registry
of its own. What belongs to a part of the service is in the file of that name beside this one.
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
        """For the driver's client."""
        self._registry = CollectorRegistry()
        own = (self.requests, self.event_loop, self.health, self.mongo, connections)
        for collector in (*own, self.redis, _Build()):
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    @contextmanager
    def with_figures_of(self, *collectors: Collector) -> Iterator[None]:
        """Tells those of `collectors` too, as long as they live."""
        for collector in collectors:
            self._registry.register(collector)
        try:
            yield
        finally:
            for collector in collectors:
                self._registry.unregister(collector)

    def text(self) -> bytes:
        """In Prometheus' text format, of the type CONTENT_TYPE."""
        return generate_latest(self._registry)


class Health(Collector):
    """What was found when this instance was last asked for its metrics."""

    def __init__(self) -> None:
        self.engines: dict[str, bool] = {}
        self.primary_known = False
        self.ready = False
        self.draining = False

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("shop_ready", "1 if requests can be served.", float(self.ready))
        yield GaugeMetricFamily("shop_draining", "1 while this instance is stopping.", float(self.draining))
        engines = GaugeMetricFamily("shop_engine_up", "1 if the engine answers.", labels=["engine"])
        for engine, up in self.engines.items():
            engines.add_metric([engine], float(up))
        yield engines
        yield GaugeMetricFamily(
            "shop_mongodb_primary_known", "1 while a server is known that takes writes.", float(self.primary_known)
        )


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("shop_build_info", "What is running: always 1.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
