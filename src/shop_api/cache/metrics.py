"""What the cache has counted of itself, as metrics."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shop_api.cache.cache import HttpCache


class CacheFigures(Collector):
    """The tiers of the cache. Nothing is counted for this: an answer out of memory pays for one counter, its own."""

    def __init__(self, cache: HttpCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        counters, memory = self._cache.counters, self._cache.memory
        requests = CounterMetricFamily(
            "shop_cache_requests",
            "Requests for what can be cached, by where the answer was found.",
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
        yield _counter("shop_cache_fills", "Answers made for all who waited for them.", counters.fills)
        yield _counter("shop_cache_invalidations", "Changes that made answers invalid.", counters.invalidations)
        yield _counter("shop_cache_redis_failures", "How often Redis was no longer trusted.", counters.redis_failures)
        yield _counter("shop_cache_epochs", "How often all that Redis held was given up.", counters.epochs)
        yield GaugeMetricFamily("shop_cache_memory_bytes", "Size of the answers in memory.", memory.bytes)
        yield GaugeMetricFamily("shop_cache_memory_max_bytes", "What they may take.", memory.max_bytes)
        yield GaugeMetricFamily("shop_cache_memory_entries", "Answers in memory.", len(memory))


def _counter(name: str, meaning: str, value: int) -> Metric:
    return CounterMetricFamily(name, meaning, value)
