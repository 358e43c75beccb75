"""Prometheus metrics of the cache."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shop_api.cache.cache import HttpCache


class CacheFigures(Collector):
    """Exports the cache's own counters at each scrape, so a hit in memory increments only one counter."""

    def __init__(self, cache: HttpCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        counters, memory = self._cache.counters, self._cache.memory
        requests = CounterMetricFamily(
            "shop_cache_requests",
            "Requests to cacheable routes, by where the response was found.",
            labels=["result"],
        )
        results = {
            "memory_hit": counters.memory_hits,
            "redis_hit": counters.redis_hits,
            "miss": counters.misses,
            "wait": counters.waits,
            "bypass": counters.bypasses,
        }
        for result, count in results.items():
            requests.add_metric([result], count)
        yield requests
        yield _counter("shop_cache_fills", "Fills that called the application.", counters.fills)
        yield _counter("shop_cache_invalidations", "Invalidations of tags after changes.", counters.invalidations)
        yield _counter("shop_cache_redis_failures", "Failures that suspended use of Redis.", counters.redis_failures)
        yield _counter("shop_cache_epochs", "Epochs started, each invalidating all of Redis.", counters.epochs)
        yield GaugeMetricFamily("shop_cache_memory_bytes", "Size of the responses in memory.", memory.bytes)
        yield GaugeMetricFamily("shop_cache_memory_max_bytes", "Limit on the size of responses.", memory.max_bytes)
        yield GaugeMetricFamily("shop_cache_memory_entries", "Responses in memory.", len(memory))


def _counter(name: str, meaning: str, value: int) -> Metric:
    return CounterMetricFamily(name, meaning, value)
