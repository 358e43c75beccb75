"""Event loop lag, which delays every request."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shop_api.kernel import tasks
from shop_api.observability.histogram import Histogram

_EVERY = 0.1
"""Seconds between measurements."""


class EventLoopLag(Collector):
    """Measures how late the event loop runs a timer."""

    def __init__(self) -> None:
        self._lags = Histogram()

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        measuring = asyncio.create_task(self._measure())
        try:
            yield
        finally:
            await tasks.end([measuring])

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY
            await asyncio.sleep(_EVERY)
            self._lags.add(max(0.0, loop.time() - due))

    def collect(self) -> Iterator[Metric]:
        lags = HistogramMetricFamily("shop_event_loop_lag_seconds", "Delay of a timer on the event loop.", labels=[])
        self._lags.export_to(lags, [])
        yield lags
