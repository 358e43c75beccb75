"""Metrics of commands to MongoDB and Redis."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shop_api.observability.histogram import Histogram

Trace = Callable[[str, str, str, float, str | None], None]
"""Creates a span for a call that has just ended. Arguments: system, command, target, seconds, error or None."""


class CommandMetrics(Collector):
    """Durations of calls to one system, by command and outcome."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.trace: Trace | None = None
        # The MongoDB driver may run in threads.
        self._lock = threading.Lock()
        self._series: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)

    def ended(self, command: str, seconds: float, error: str | None = None, *, target: str = "") -> None:
        """Record a command that has just ended, in the context of its caller. `error` is the name of the error."""
        with self._lock:
            # Export both series from the first call: Prometheus sees no increase in a series that starts above 0, and
            # would miss the first failures of an outage.
            outcomes = {"ok": self._series[command, "ok"], "failed": self._series[command, "failed"]}
            outcomes["failed" if error else "ok"].add(seconds)
        if self.trace is not None:
            self.trace(self.system, command, target, seconds, error)

    def collect(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            f"shop_{self.system}_command_duration_seconds",
            f"Duration of commands to {self.system}.",
            labels=["command", "outcome"],
        )
        with self._lock:
            for labels, histogram in self._series.items():
                histogram.export_to(seconds, labels)
        yield seconds
