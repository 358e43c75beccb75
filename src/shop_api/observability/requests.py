"""Request metrics."""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from shop_api.observability.histogram import Histogram

_METHODS = {method: method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_ERRORS = (500, 503)
CLIENT_LEFT = 499
"""The status of a request whose client left before its body was complete, as nginx has it. Nothing was answered."""
_UNTIMED = frozenset({0, 408, CLIENT_LEFT})
OTHER = "other"
"""The label for requests without a route template, and for unknown methods."""


class Requests(Collector):
    """Counts and durations of requests by route template, method and status.

    Clients cannot create new label values. Only the event loop writes, so there is no lock.
    """

    def __init__(self) -> None:
        self._series: defaultdict[tuple[str, str, int], Histogram] = defaultdict(Histogram)
        self.in_flight = 0
        self.bytes_sent = 0
        """Total size of the response bodies as sent."""
        self.unexpected_errors = 0

    def add(self, route: str | None, method: str, status: int, seconds: float, size: int) -> None:
        """Record a request. `status` is 0 if the client disconnected before the response."""
        key = route or OTHER, _METHODS.get(method, OTHER), status
        if key not in self._series:
            # Export error series from the first request: Prometheus sees no increase in a series that starts above 0,
            # and would miss the first errors of an outage.
            for error in _ERRORS:
                self._series[*key[:2], error]
        self._series[key].add(seconds)
        self.bytes_sent += size

    def collect(self) -> Iterator[Metric]:
        series = list(self._series.items())
        total = CounterMetricFamily(
            "shop_http_requests",
            "Requests by route template, method and status.",
            labels=["route", "method", "status"],
        )
        by_class: defaultdict[tuple[str, str, str], list[Histogram]] = defaultdict(list)
        for (route, method, status), histogram in series:
            total.add_metric([route, method, str(status) if status else "none"], histogram.count)
            by_class[route, method, _class(status)].append(histogram)
        seconds = HistogramMetricFamily(
            "shop_http_request_duration_seconds",
            "Request duration until the last byte is passed to the server.",
            labels=["route", "method", "status_class"],
        )
        for labels, parts in by_class.items():
            Histogram.total(parts).export_to(seconds, labels)
        yield total
        yield seconds
        yield GaugeMetricFamily("shop_http_requests_in_flight", "Requests in flight.", self.in_flight)
        yield CounterMetricFamily("shop_http_response_bytes", "Bytes of response bodies sent.", self.bytes_sent)
        yield CounterMetricFamily(
            "shop_http_unexpected_errors",
            "Unexpected errors; their cause is in the log.",
            self.unexpected_errors,
        )


def _class(status: int) -> str:
    """`none` where it was the client that took the time."""
    return "none" if status in _UNTIMED else f"{status // 100}xx"
