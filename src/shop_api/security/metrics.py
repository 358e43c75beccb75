"""Prometheus metrics of the rate limits."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from shop_api.security.rate_limits import RateLimits


class RateLimitFigures(Collector):
    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "shop_rate_limit_fallbacks", "Attempts counted by this instance alone.", self._limits.fallbacks
        )
