"""What is counted of requests."""

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
"""The route of whatever no template stands for, and the method of whatever is none that this service has."""


class Requests(Collector):
    """Requests by route template, method and status: how many, and how long they took.

    A client chooses none of the labels, so it cannot make more of them. Written by the event loop alone.
    """

    def __init__(self) -> None:
        self._series: defaultdict[tuple[str, str, int], Histogram] = defaultdict(Histogram)
        self.in_flight = 0
        self.bytes_sent = 0
        """Of bodies, as they leave this service."""
        self.unexpected_errors = 0

    def add(self, route: str | None, method: str, status: int, seconds: float, size: int) -> None:
        """One request that was answered; with status 0 if its client was gone before that."""
        key = route or OTHER, _METHODS.get(method, OTHER), status
        if key not in self._series:
            # Told of from the first request: what begins above 0 is no increase to Prometheus, and the first errors
            # of an outage would not count.
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
            "How long requests took, to the last byte handed to the server.",
            labels=["route", "method", "status_class"],
        )
        for labels, parts in by_class.items():
            Histogram.total(parts).export_to(seconds, labels)
        yield total
        yield seconds
        yield GaugeMetricFamily("shop_http_requests_in_flight", "Requests being answered.", self.in_flight)
        yield CounterMetricFamily("shop_http_response_bytes", "Bytes of bodies sent.", self.bytes_sent)
        yield CounterMetricFamily(
            "shop_http_unexpected_errors",
            "Errors that nobody expected; their cause is in the log.",
            self.unexpected_errors,
        )


def _class(status: int) -> str:
    """`none` where it was the client that took the time."""
    return "none" if status in _UNTIMED else f"{status // 100}xx"
