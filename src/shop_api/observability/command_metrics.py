"""What is counted of calls to MongoDB and Redis."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shop_api.observability.histogram import Histogram

Trace = Callable[[str, str, str, float, str | None], None]
"""Makes a span of a call that has just ended: of which system, what, on what, for how many seconds, which error."""


class CommandMetrics(Collector):
    """Calls to one system by command: how many failed, and how long they took."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.trace: Trace | None = None
        # The driver of MongoDB may work in threads.
        self._lock = threading.Lock()
        self._series: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)

    def ended(self, command: str, seconds: float, error: str | None = None, *, target: str = "") -> None:
        """To be called where `command` was called, right after its end; `error` is the name of what went wrong."""
        with self._lock:
            # Both are told of from the first call: what begins above 0 is no increase to Prometheus, and the first
            # failures of an outage would not count.
            outcomes = {"ok": self._series[command, "ok"], "failed": self._series[command, "failed"]}
            outcomes["failed" if error else "ok"].add(seconds)
        if self.trace is not None:
            self.trace(self.system, command, target, seconds, error)

    def collect(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            f"shop_{self.system}_command_duration_seconds",
            f"How long commands to {self.system} took.",
            labels=["command", "outcome"],
        )
        with self._lock:
            for labels, histogram in self._series.items():
                histogram.export_to(seconds, labels)
        yield seconds
