"""A histogram in plain numbers, and its export to Prometheus.

The histogram of the Prometheus client takes a lock and scans its buckets for each value, which is too slow for a
response from memory.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import HistogramMetricFamily

# Bucket bounds in seconds: from a response out of memory to the longest allowed request.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NAMES = [*map(str, BOUNDS), "+Inf"]


class Histogram:
    """A histogram of durations. Not thread-safe."""

    __slots__ = ("_counts", "seconds")

    def __init__(self) -> None:
        self._counts = [0] * len(_NAMES)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    @property
    def count(self) -> int:
        return sum(self._counts)

    def export_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the histogram to `family` with these labels."""
        family.add_metric(labels, list(zip(_NAMES, accumulate(self._counts), strict=True)), self.seconds)

    @staticmethod
    def total(parts: Iterable["Histogram"]) -> "Histogram":
        total = Histogram()
        for part in parts:
            total._counts = [mine + more for mine, more in zip(total._counts, part._counts, strict=True)]
            total.seconds += part.seconds
        return total
